"""Signing in through the identity platform: where it is, and what it must know of each platform.

Source: OpenID Connect Core 1.0, 3.1 (authorization code); the names of the fields are those of
https://www.keycloak.org/docs/latest/server_admin/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra import naming
from infra.components.edge.sign_in import CALLBACK, client_id
from infra.components.manifest import Object
from infra.errors import TinhError
from infra.model.platform import PLATFORMS, Platform
from infra.model.site import Site

#: The groups of a person, as a claim of the tokens.
_GROUPS: Object = {
    "protocolMappers": [
        {
            "name": "groups",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-group-membership-mapper",
            "config": {
                "claim.name": "groups",
                "full.path": "false",
                "id.token.claim": "true",
                "access.token.claim": "true",
                "userinfo.token.claim": "true",
            },
        }
    ],
}


@dataclass(frozen=True, kw_only=True)
class Client:
    """What people sign in to.

    Args:
        declared: the client as the realm has it, without its secret.
        secret: name of the site's secret, which both sides are given.
    """

    declared: Object
    secret: str


def client_secret(platform: Platform) -> str:
    """Return the name of the site's secret that a platform and the identity platform share."""
    return naming.name(platform.id, "client")


def identity_of(platforms: Iterable[Platform], wanted_by: str) -> Platform:
    """Return the platform that has the realm of the province's people.

    Args:
        platforms: those of the site.
        wanted_by: the platform that asks, for the message.

    Raises:
        TinhError: when none of the site's platforms has one.
    """
    found = next((platform for platform in platforms if platform.realm), None)
    if found is None:
        raise TinhError(
            f"{wanted_by} signs its users in through the identity platform, which is switched off",
            where=str(PLATFORMS / wanted_by / "platform.yaml"),
            fix="add identity to `platforms` of the site file, or leave the platform out",
        )
    return found


def issuer(site: Site, identity: Platform) -> str:
    """Return the address by which the realm is known to its clients."""
    return f"https://{site.public_name(identity.public_names[0])}/realms/{identity.realm}"


def clients(site: Site, platforms: Iterable[Platform]) -> list[Client]:
    """Return all clients of the realm: platforms with users, and names at which the gateway lets people sign in.

    To a platform, the groups of a person come with the claim `groups`, as plain names.
    """
    found = []
    for platform in platforms:
        if platform.login:
            declared = _client(site, platform, platform.public_names[0], platform.id, platform.login.callback)
            found.append(Client(declared=declared | _GROUPS, secret=client_secret(platform)))
        for label in platform.public_names:
            if platform.exposed(label).sign_in:
                name = client_id(label)
                found.append(Client(declared=_client(site, platform, label, name, CALLBACK), secret=name))
    return found


def _client(site: Site, platform: Platform, label: str, name: str, callback: str) -> Object:
    url = f"https://{site.public_name(label)}"
    return {
        # Chosen here, so that the client can be found and updated by it.
        "id": name,
        "clientId": name,
        "name": platform.name.vi,
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "rootUrl": url,
        "baseUrl": "/",
        "redirectUris": [f"{url}{callback}"],
        "webOrigins": [],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": f"{url}##{url}/",
        },
    }


def groups(platforms: Iterable[Platform]) -> list[Object]:
    """Return the groups that platforms give roles to, each once, by name."""
    found = {
        group.name: {
            "name": group.name,
            # The import looks for what it has made by path, and fails without one.
            "path": f"/{group.name}",
            "attributes": {"title": [group.title.vi], "title-en": [group.title.en]},
        }
        for platform in platforms
        if platform.login
        for group in platform.login.groups
    }
    return [found[name] for name in sorted(found)]
