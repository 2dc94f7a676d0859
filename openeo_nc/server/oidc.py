"""Checks access tokens of OpenID Connect providers: signed JWTs (RFC 9068), with the issuer's keys."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import jwt
import requests
from jwt.types import Options

from openeo_nc.errors import TokenInvalidError
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


class Issuer:
    """A provider whose keys are fetched on first use, and again when they are old."""

    def __init__(self, provider: OIDCProvider) -> None:
        self.provider = provider
        self._keys: jwt.PyJWKSet | None = None
        self._fetched = 0.0
        self._lock = threading.Lock()

    def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of an access token.

        Raises
        ------
        TokenInvalidError
            It is no JWT, expired, of another issuer, or made for somebody else.
        """
        options: Options = {"require": ["exp", "iss", "sub"], "verify_aud": False}
        try:
            key = self._key(jwt.get_unverified_header(token))
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=list(ALGORITHMS), issuer=self._issuer(), options=options,
                leeway=LEEWAY,
            )  # fmt: skip
        except (jwt.PyJWTError, requests.RequestException, ValueError, KeyError) as error:
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
        found = [k for k in keys.keys if name is None or k.key_id == name]
        if len(found) != 1:
            raise ValueError("the token names no key of the issuer")
        return found[0]

    def _known_keys(self) -> jwt.PyJWKSet:
        """The issuer's keys, at most a few minutes old; tokens cannot make this fetch more often."""
        with self._lock:
            if self._keys is None or time.monotonic() > self._fetched + _KEYS_SECONDS:
                place = f"{self.provider.issuer}/.well-known/openid-configuration"
                configuration = _json(place)
                if configuration["issuer"].rstrip("/") != self.provider.issuer:
                    raise ValueError("the issuer names itself otherwise")
                self._keys = jwt.PyJWKSet.from_dict(_json(configuration["jwks_uri"]))
                self._fetched = time.monotonic()
            return self._keys


def _json(url: str) -> dict[str, Any]:
    response = requests.get(url, timeout=_TIMEOUT)
    response.raise_for_status()
    document = response.json()
    if not isinstance(document, dict):
        raise TypeError(f"{url} holds no JSON object")
    return document
