"""Sign-in at `identity` in front of a backend that has none of its own (OpenID Connect, code flow).

The gateway's proxy asks the identity server by its Service: no name to resolve, no way out of the cluster. Its answers
name the public address all the same, which is what browsers are sent to.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import naming
from infra.components.manifest import Object
from infra.model.exposure import SignIn

#: The platform that people sign in at, and its Service.
PLATFORM, SERVICE, PORT = "identity", "keycloak", 80
#: Path to which people come back; the proxy answers it itself.
CALLBACK = "/oauth2/callback"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """The identity server.

    Args:
        host: its public name.
        realm: of the province's people.
        secret: of the client; a secret Output, which the realm's client has too.
    """

    host: str
    realm: str
    secret: pulumi.Input[str]


def client_id(label: str) -> str:
    """Return the client of a public name in the realm; the site's secret of the same name is the client's."""
    return naming.name(label, "sign-in")


def sign_in(settings: SignIn, provider: Provider, host: str, client: str) -> Object:
    """Return the spec of a SecurityPolicy without its target.

    Args:
        settings: scopes, and where to sign out.
        provider: the identity server.
        host: the protected name.
        client: id of the client; the Secret with its secret (key `client-secret`) has the same name.
    """
    realm = f"realms/{provider.realm}"
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
            "clientID": client,
            "clientSecret": {"name": client},
            "scopes": list(settings.scopes),
            "redirectURL": f"https://{host}{CALLBACK}",
            "logoutPath": settings.logout,
            "cookieConfig": {"sameSite": "Lax"},
        }
    }
