"""Signing in through the identity platform: where it is, and what it must know of each platform.

Source: OpenID Connect Core 1.0, 3.1 (authorization code); the names of the fields are those of
https://www.keycloak.org/docs/latest/server_admin/.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra import naming
from infra.components.manifest import Object
from infra.errors import TinhError
from infra.model.platform import PLATFORMS, Platform
from infra.model.site import Site


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


def client(site: Site, platform: Platform) -> Object:
    """Return a platform as a client of the realm, without its secret.

    The groups of a person come with the claim `groups`, as plain names.

    Raises:
        ValueError: when the platform has no users.
    """
    if platform.login is None:
        raise ValueError(f"{platform.id} has no login")
    url = f"https://{site.public_name(platform.public_names[0])}"
    return {
        # Chosen here, so that the client can be found and updated by it.
        "id": platform.id,
        "clientId": platform.id,
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
        "redirectUris": [f"{url}{platform.login.callback}"],
        "webOrigins": [],
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": f"{url}##{url}/",
        },
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
