"""Bounds what one address may ask for: requests in a minute, and the bytes of a body."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeo_nc.errors import (
    FileSizeExceededError,
    RequestTooLargeError,
    TooManyRequestsError,
)
from openeo_nc.server.settings import Settings

FAILED_LOG_IN = 20
"""Requests that a failed log-in counts for, so that passwords are not guessed."""
FORBIDDEN = 403
"""Status of log-ins, tokens and signatures that are wrong."""
ALWAYS = ("/health", "/ready")
"""Paths without a limit: whoever watches the server is not to be turned away."""
_MOST_ADDRESSES = 10_000


class Allowance:
    """Requests left to each address: a bucket that fills again within a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def spend(self, address: str, cost: float = 1) -> None:
        """Take from an address's bucket; TooManyRequestsError if nothing is left in it."""
        if self.take(address, cost) < 1:
            raise TooManyRequestsError(
                f"At most {self._most:g} requests a minute are answered; please wait."
            )

    def take(self, address: str, cost: float) -> float:
        """Take from an address's bucket what is there; gives what was."""
        now = self._clock()
        left, then = self._left.pop(address, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60)
        if len(self._left) >= _MOST_ADDRESSES:  # forget who was quiet for longest
            self._left.pop(next(iter(self._left)))
        self._left[address] = (max(left - cost, 0.0), now)
        return left


class Limits:
    """Middleware: refuses requests that are too many or too large, before they are read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.allowance = Allowance(settings.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        address = (scope.get("client") or ("",))[0]
        self.allowance.spend(address)
        limit, error = self._limit(scope)
        stated = Request(scope).headers.get("content-length", "0")
        if stated.isdigit() and int(stated) > limit:
            raise error
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise error
            return message

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == FORBIDDEN:
                self.allowance.take(address, FAILED_LOG_IN)
            await send(message)

        await self.app(scope, counted, watched)

    def _limit(self, scope: Scope) -> tuple[int, Exception]:
        if scope["path"].startswith("/files/"):
            most = self.settings.max_upload_bytes
            return most, FileSizeExceededError(f"Files may have at most {most} bytes.")
        most = self.settings.max_request_bytes
        return most, RequestTooLargeError(f"Requests may have at most {most} bytes.")
