"""Keeps fetching for others away from addresses that only this machine and its network reach.

On one's own machine any URL is one's own business. A server puts `public_only` around what it
fetches for its users: then names must lead to public addresses, and so must the connection that is
made in the end, whatever a redirect or a second answer of the name service says.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from openeo_nc.errors import AddressRefusedError, UDFSourceError

TIMEOUT = 60
"""Seconds to wait for an answer."""
_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What may be fetched."""

    hosts: frozenset[str]
    """Hosts that may have any address: those that the operator has configured."""

    def check(self, href: str, *, of: str | None = None) -> None:
        """AddressRefusedError unless a URL may be fetched.

        Parameters
        ----------
        href
            The URL.
        of
            URL of the document that names it; if its host is the operator's, all is allowed.
        """
        if of is not None and _host(of) in self.hosts and _is_web(of):
            return
        host = _host(href)
        if not _is_web(href) or host is None:
            raise AddressRefusedError(
                f"'{href[:200]}' is not fetched here: only http and https URLs are."
            )
        if host not in self.hosts:
            for address in _addresses(host):
                self.check_address(address, host)

    def check_address(self, address: str, host: str) -> None:
        """AddressRefusedError unless an address is public, or its host is the operator's."""
        if host in self.hosts:
            return
        found = ipaddress.ip_address(address.split("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)
        if not (mapped or found).is_global or found.is_multicast:
            raise AddressRefusedError(f"'{host}' has no public address; it is not fetched here.")


_guard: ContextVar[Guard | None] = ContextVar("addresses_guard", default=None)


def guard() -> Guard | None:
    """The guard in force; None where anything may be fetched."""
    return _guard.get()


@contextmanager
def public_only(hosts: frozenset[str] = frozenset()) -> Iterator[None]:
    """Within it only public addresses, and any of these hosts, are fetched from."""
    token = _guard.set(Guard(hosts=hosts))
    try:
        yield
    finally:
        _guard.reset(token)


def host_of(url: str) -> str | None:
    """The host of an http or https URL; None of anything else."""
    return _host(url) if _is_web(url) else None


def mount(session: requests.Session, by: Guard | None) -> requests.Session:
    """Have the connections of a session looked at by a guard."""
    if by is not None:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(by))
    return session


def get(url: str, by: Guard | None = None, **options: Any) -> requests.Response:
    """`requests.get`, under a guard.

    Raises
    ------
    AddressRefusedError
    requests.RequestException
    """
    if by is None:
        return requests.get(url, timeout=TIMEOUT, **options)
    by.check(url)
    with mount(requests.Session(), by) as session:
        return session.get(url, timeout=TIMEOUT, **options)


def fetch(url: str, most: int) -> bytes:
    """The bytes at a URL, under the guard in force.

    Raises
    ------
    AddressRefusedError
    UDFSourceError
        They cannot be read, or are more than `most`.
    """
    found = bytearray()
    try:
        with get(url, guard(), stream=True) as response:
            response.raise_for_status()
            for block in response.iter_content(_BLOCK):
                found += block
                if len(found) > most:
                    raise UDFSourceError(f"There are more than {most} bytes at {url}.")
    except requests.RequestException as error:
        raise UDFSourceError(f"{url} cannot be read: {error}") from error
    return bytes(found)


class _Looked:
    """A connection that is closed before a request is sent if its peer is not to be reached."""

    by: Guard

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        connected: Any = self
        try:
            self.by.check_address(connected.sock.getpeername()[0], connected.host)
        except AddressRefusedError:
            connected.close()
            raise


class _Adapter(HTTPAdapter):
    """requests' transport with such connections."""

    def __init__(self, by: Guard) -> None:
        self._by = by
        super().__init__()

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords)
        self.poolmanager.pool_classes_by_scheme = _pools(self._by)


@lru_cache(maxsize=16)
def _pools(by: Guard) -> dict[str, Any]:
    plain = type("_Plain", (_Looked, HTTPConnection), {"by": by})
    secure = type("_Secure", (_Looked, HTTPSConnection), {"by": by})
    return {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


def _host(url: str) -> str | None:
    host = urlsplit(url).hostname
    return None if host is None else host.rstrip(".").lower()


@lru_cache(maxsize=256)
def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"The name '{host}' is not known.") from error
