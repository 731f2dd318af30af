"""Signing in through the province's identity platform, and in no other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plone import api
from Products.PluggableAuthService.interfaces.plugins import (
    IAuthenticationPlugin,
    IChallengePlugin,
    IExtractionPlugin,
)

#: Ways in that a new site has and this one must not have: passwords of its own.
_PASSWORDS = (
    (IAuthenticationPlugin, "source_users"),
    (IExtractionPlugin, "credentials_cookie_auth"),
    (IExtractionPlugin, "credentials_basic_auth"),
    (IChallengePlugin, "credentials_cookie_auth"),
    (IChallengePlugin, "credentials_basic_auth"),
)


def sign_in(portal: Any, declared: dict[str, Any], secret: Path) -> list[str]:  # noqa: ANN401 - Plone's site
    """Bring plugins, session and groups to what is declared; return the names of what differed.

    Args:
        portal: the site.
        declared: `issuer`, `client`, `url`, `groups` (name -> title and roles), `idle` (seconds).
        secret: file with the client's secret.
    """
    users, url = portal.acl_users, declared["url"]
    changed = _properties(
        users.oidc,
        {
            "issuer": declared["issuer"],
            "client_id": declared["client"],
            "client_secret": secret.read_text("utf-8").strip(),
            "redirect_uris": (f"{url}/acl_users/oidc/callback",),
            "scope": ("openid", "profile", "email"),
            # Binds the answer to the browser that asked (RFC 7636).
            "use_pkce": True,
            "create_groups": True,
            "user_property_as_groupid": "groups",
            # Who is in none of them has nothing to do here.
            "allowed_groups": tuple(declared["groups"]),
        },
    )
    # TCVN 14423 5.5.2.2 a: sessions end when nothing happens.
    idle = declared["idle"]
    session = {"secure": url.startswith("https:"), "timeout": idle, "refresh_interval": idle // 3}
    changed += _properties(users.session, session)
    for interface, plugin in _PASSWORDS:
        if plugin in users.plugins.listPluginIds(interface):
            users.plugins.deactivatePlugin(interface, plugin)
            changed.append(f"no {interface.__name__} {plugin}")
    for name in ("login", "logout"):
        record, wanted = f"plone.external_{name}_url", f"{url}/acl_users/oidc/{name}"
        if api.portal.get_registry_record(record) != wanted:
            api.portal.set_registry_record(record, wanted)
            changed.append(record)
    return changed + _groups(declared["groups"])


def _properties(plugin: Any, wanted: dict[str, Any]) -> list[str]:  # noqa: ANN401
    differ = {name: value for name, value in wanted.items() if plugin.getProperty(name) != value}
    for name, value in differ.items():
        plugin._setPropValue(name, value)
    return [f"{plugin.getId()} {name}" for name in differ]


def _groups(declared: dict[str, dict[str, Any]]) -> list[str]:
    """Make groups and give them exactly their roles."""
    changed = []
    for name, group in declared.items():
        found = api.group.get(groupname=name)
        if found is None:
            api.group.create(groupname=name, title=group["title"], roles=group["roles"])
        elif set(found.getRoles()) - {"Authenticated"} != set(group["roles"]):
            api.portal.get_tool("portal_groups").editGroup(name, roles=group["roles"], title=group["title"])
        else:
            continue
        changed.append(f"group {name}")
    return changed
