"""Users: `/credentials/basic`, `/credentials/oidc`, `/me`."""

from __future__ import annotations

from fastapi import APIRouter, Request

from openeo_nc.server.requests import Json, Served, SignedIn
from openeo_nc.server.settings import OIDCProvider

router = APIRouter(tags=["Account Management"])
passwords = APIRouter(tags=["Account Management"])
"""For development only."""
providers = APIRouter(tags=["Account Management"])
"""Where there are OpenID Connect providers."""

_GRANTS = [
    "authorization_code+pkce",
    "urn:ietf:params:oauth:grant-type:device_code+pkce",
    "refresh_token",
]


@passwords.get("/credentials/basic")
def basic(request: Request, backend: Served) -> Json:
    """A token for a user name and password."""
    return {"access_token": backend.accounts.log_in(request.headers.get("authorization"))}


@providers.get("/credentials/oidc")
def oidc(backend: Served) -> Json:
    """OpenID Connect providers whose tokens are taken."""
    return {"providers": [_provider(one) for one in backend.settings.oidc]}


@router.get("/me")
def me(backend: Served, user: SignedIn) -> Json:
    """Who the token is of."""
    free, quota = backend.workspaces.free(user), backend.workspaces.quota()
    return {
        "user_id": user.id,
        "name": user.name,
        "storage": {"free": free, "quota": quota},
        "links": [],
    }


def _provider(provider: OIDCProvider) -> Json:
    shown: Json = {
        "id": provider.id,
        "issuer": provider.issuer,
        "title": provider.title,
        "scopes": list(provider.scopes),
    }
    if provider.clients:
        shown["default_clients"] = [
            {
                "id": provider.clients[0],
                "grant_types": _GRANTS,
                "redirect_urls": list(provider.redirects),
            }
        ]
    return shown
