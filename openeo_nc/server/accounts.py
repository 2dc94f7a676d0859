"""Who sends a request: bearer tokens of openEO, `basic//TOKEN` and `oidc/PROVIDER/TOKEN`, or a JWT.

A token of a log-in with a password is a JWT that this server signs, so that any server with the same
secret takes it and nothing is kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

import jwt

from openeo_nc.errors import (
    AuthenticationRequiredError,
    AuthenticationSchemeInvalidError,
    CredentialsInvalidError,
    TokenInvalidError,
)
from openeo_nc.server.oidc import Issuer
from openeo_nc.server.settings import Settings

_AUDIENCE = "openeo_nc"


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody who has logged in."""

    id: str
    """Unique among all providers; letters, digits, `_`, `-` and `.` only."""
    name: str
    """For people to read."""


class Accounts:
    """Logs users in, and knows them by their tokens."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self._settings = settings
        self._key = hmac.digest(secret, b"openeo_nc tokens", "sha256")
        self._issuers = {provider.id: Issuer(provider) for provider in settings.oidc}

    def log_in(self, authorization: str | None) -> str:
        """The token for a `Basic` header.

        Raises
        ------
        AuthenticationRequiredError, AuthenticationSchemeInvalidError, CredentialsInvalidError
        """
        name, password = _basic(authorization)
        known = self._settings.users.get(name)
        # compared in any case, so that time does not tell which names there are
        expected = secrets.token_hex() if known is None else known.get_secret_value()
        if not hmac.compare_digest(password.encode(), expected.encode()) or known is None:
            raise CredentialsInvalidError("User name and password do not belong together.")
        until = int(time.time()) + self._settings.token_seconds
        claims = {"sub": name, "exp": until, "aud": _AUDIENCE}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def user(self, authorization: str | None) -> User:
        """Whose `Bearer` header this is.

        Raises
        ------
        AuthenticationRequiredError, AuthenticationSchemeInvalidError, TokenInvalidError
        """
        if not authorization:
            raise AuthenticationRequiredError("Log in first: this is for users only.")
        scheme, _, bearer = authorization.partition(" ")
        if scheme.lower() == "bearer" and "/" not in bearer:
            bearer = self._named(bearer.strip())
        method, _, rest = bearer.strip().partition("/")
        provider, _, token = rest.partition("/")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationSchemeInvalidError(
                "A header 'Authorization: Bearer METHOD/PROVIDER/TOKEN' is expected."
            )
        if method == "basic" and not provider and self._settings.development:
            return self._of_password(token)
        if method == "oidc" and provider in self._issuers:
            return self._of_provider(provider, token)
        raise AuthenticationSchemeInvalidError(
            "The server has no such method of authentication, or no such provider."
        )

    def _named(self, token: str) -> str:
        """A token that is sent alone, as openEO 1.3 has it, with the name of whose it claims to be."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return ""
        issuer = str(claims.get("iss", "")).rstrip("/")
        named = (id for id, one in self._issuers.items() if one.provider.issuer == issuer)
        return f"oidc/{next(named, '')}/{token}" if issuer else f"basic//{token}"

    def _of_password(self, token: str) -> User:
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"], audience=_AUDIENCE)
        except jwt.PyJWTError as error:
            raise TokenInvalidError("The token has expired or is invalid; log in again.") from error
        name = str(claims["sub"])
        if name not in self._settings.users:
            raise TokenInvalidError("The token's user is not known here any more.")
        return User(id=_id("basic", "", name), name=name)

    def _of_provider(self, provider: str, token: str) -> User:
        issuer = self._issuers[provider]
        claims = issuer.claims(token)
        subject = str(claims["sub"])
        name = claims.get("name") or claims.get("preferred_username") or subject
        return User(id=_id(provider, issuer.provider.issuer, subject), name=str(name))


def _id(method: str, issuer: str, subject: str) -> str:
    """An id in characters that openEO and file systems take, whatever the subject is."""
    digest = hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()
    return f"{method}-{digest[:32]}"


def _basic(authorization: str | None) -> tuple[str, str]:
    if not authorization:
        raise AuthenticationRequiredError("User name and password are expected, as Basic has them.")
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise AuthenticationSchemeInvalidError("A header 'Authorization: Basic ...' is expected.")
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CredentialsInvalidError("The credentials are not in base64 of UTF-8.") from error
    if not colon:
        raise CredentialsInvalidError("The credentials have no colon between name and password.")
    return name, password
