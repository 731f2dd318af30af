"""Sign-in at `identity` in front of a backend that has none of its own (OpenID Connect, code flow).

The gateway's proxy asks the identity server by its Service: no name to resolve, no way out of the cluster. Its answers
name the public address all the same, which is what browsers are sent to.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.components.manifest import Object
from infra.model.exposure import SignIn

#: The platform that people sign in at, and its Service.
PLATFORM, SERVICE, PORT = "identity", "keycloak", 80


@dataclass(frozen=True, kw_only=True)
class Provider:
    """The identity server.

    Args:
        host: its public name.
        secret: of the client; a secret Output, which the realm's client must have too.
    """

    host: str
    secret: pulumi.Input[str]


def sign_in(settings: SignIn, provider: Provider, host: str, credentials: str) -> Object:
    """Return the spec of a SecurityPolicy without its target.

    Args:
        settings: realm and client.
        provider: the identity server.
        host: the protected name.
        credentials: Secret with the client's secret (key `client-secret`).
    """
    realm = f"realms/{settings.realm}"
    public = f"https://{provider.host}/{realm}"
    return {
        "oidc": {
            "provider": {
                "issuer": public,
                # All are named, so that the controller needs to ask nobody.
                "authorizationEndpoint": f"{public}/protocol/openid-connect/auth",
                "endSessionEndpoint": f"{public}/protocol/openid-connect/logout",
                "tokenEndpoint": f"http://{SERVICE}.{PLATFORM}.svc/{realm}/protocol/openid-connect/token",
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": SERVICE, "namespace": PLATFORM, "port": PORT}
                ],
            },
            "clientID": settings.client,
            "clientSecret": {"name": credentials},
            "scopes": list(settings.scopes),
            "redirectURL": f"https://{host}/oauth2/callback",
            "logoutPath": settings.logout,
            "cookieConfig": {"sameSite": "Lax"},
        }
    }
