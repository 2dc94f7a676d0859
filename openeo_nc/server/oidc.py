"""Checks access tokens of OpenID Connect providers: signed JWTs (RFC 9068), with the issuer's keys."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any

import jwt
import requests
from jwt.types import Options

from openeo_nc.errors import IssuerUnavailableError, TokenInvalidError
from openeo_nc.server.settings import OIDCProvider

logger = logging.getLogger(__name__)

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures that are taken: with public keys only, since a shared secret is not the issuer's."""
LEEWAY = 30
"""Seconds by which clocks may differ."""
_TIMEOUT = 10
_KEYS_SECONDS = 300
_AGAIN_SECONDS = 15


class Issuer:
    """A provider whose keys are fetched on first use, and again when they are old."""

    def __init__(self, provider: OIDCProvider) -> None:
        self.provider = provider
        self._keys: jwt.PyJWKSet | None = None
        self._next = -math.inf
        self._lock = threading.Lock()

    def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of an access token.

        Raises
        ------
        TokenInvalidError
            It is no JWT, expired, of another issuer, or made for somebody else.
        IssuerUnavailableError
            The issuer has not given its keys yet, and does not now.
        """
        options: Options = {"require": ["exp", "iss", "sub"], "verify_aud": False}
        try:
            key = self._key(jwt.get_unverified_header(token))
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=list(ALGORITHMS), issuer=self._issuer(), options=options,
                leeway=LEEWAY,
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, KeyError) as error:
            logger.info("token of %s refused: %s", self.provider.id, type(error).__name__)
            raise TokenInvalidError("The token has expired or is invalid; log in again.") from error
        if not self._made_for_us(claims):
            raise TokenInvalidError("The token was made for another service than this.")
        return claims

    def _made_for_us(self, claims: Mapping[str, Any]) -> bool:
        audience = claims.get("aud", [])
        made_for = {audience} if isinstance(audience, str) else set(audience)
        by = {claims.get("azp"), claims.get("client_id")}
        taken = {*self.provider.audience, *self.provider.clients}
        return bool(made_for & taken or by & set(self.provider.clients))

    def _issuer(self) -> list[str]:
        return [self.provider.issuer, self.provider.issuer + "/"]

    def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        name = header.get("kid")
        keys = self._known_keys()
        if keys is None:
            raise IssuerUnavailableError(
                f"The provider '{self.provider.id}' does not tell its keys; please try again."
            )
        found = [k for k in keys.keys if name is None or k.key_id == name]
        if len(found) != 1:
            raise ValueError("the token names no key of the issuer")
        return found[0]

    def _known_keys(self) -> jwt.PyJWKSet | None:
        """The issuer's keys, at most a few minutes old, or the last ones while it does not answer.

        Tokens cannot make this fetch more often. One request fetches; those that have keys do not
        wait for it.
        """
        if time.monotonic() > self._next and self._lock.acquire(blocking=self._keys is None):
            try:
                if time.monotonic() > self._next:
                    self._fetch()
            finally:
                self._lock.release()
        return self._keys

    def _fetch(self) -> None:
        try:
            place = f"{self.provider.issuer}/.well-known/openid-configuration"
            configuration = _json(place)
            if configuration["issuer"].rstrip("/") != self.provider.issuer:
                raise ValueError("the issuer names itself otherwise")
            self._keys = jwt.PyJWKSet.from_dict(_json(configuration["jwks_uri"]))
            self._next = time.monotonic() + _KEYS_SECONDS
        except (
            requests.RequestException, jwt.PyJWTError, ValueError, KeyError, TypeError,
            AttributeError,
        ):  # fmt: skip
            logger.warning("%s does not tell its keys", self.provider.issuer, exc_info=True)
            self._next = time.monotonic() + _AGAIN_SECONDS


def _json(url: str) -> dict[str, Any]:
    response = requests.get(url, timeout=_TIMEOUT)
    response.raise_for_status()
    document = response.json()
    if not isinstance(document, dict):
        raise TypeError(f"{url} holds no JSON object")
    return document
