"""Logs requests: method, route, status and time; no headers, queries or signatures."""

from __future__ import annotations

import logging
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeo_nc import metrics

logger = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_SIGNED = re.compile(r"(/assets|/results)/[^/]*")


class Access:
    """Middleware: one line a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            took = time.perf_counter() - began
            _count(scope, status, took)
            logger.info("%s %r %d %.3f s", scope["method"], _shown(scope["path"]), status, took)


def _count(scope: Scope, status: int, took: float) -> None:
    """Count a request by its route as that was declared: without ids, and as many as there are."""
    route = str(getattr(scope.get("route"), "path", "none"))
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.REQUESTS.labels(method, route, status).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(took)


def _shown(path: str) -> str:
    """The path, without the signature that makes a link valid."""
    return _SIGNED.sub(r"\1/...", path, count=1) if _SIGNED.match(path) else path
