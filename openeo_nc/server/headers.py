"""Tells browsers what they may do with an answer: nothing, unless it is the page.

The page may load scripts, styles and data from this server and log in with its OIDC providers, and no
more. Everything else is shown in a sandbox of no origin: a result in HTML that somebody opens by its
link can run no script, and reach no token of the page, which lies in the same origin.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openeo_nc.server.settings import Settings

_RESULT = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_HASHED = "/page/assets/"
"""Files whose names change with their content."""


class Headers:
    """Middleware: adds the headers, wherever a route has not set its own."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._page = {
            "Content-Security-Policy": page_policy(settings),
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Cache-Control": "no-cache",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(scope["path"], MutableHeaders(scope=message))
            await send(message)

        await self.app(scope, receive, sent)

    def _add(self, path: str, headers: MutableHeaders) -> None:
        page = path == "/" and headers.get("content-type", "").startswith("text/html")
        if path == "/":
            headers.add_vary_header("Accept")
        if path.startswith(_HASHED):
            headers.setdefault("Cache-Control", "public, max-age=31536000, immutable")
        for name, value in (self._page if page else {"Content-Security-Policy": _RESULT}).items():
            headers.setdefault(name, value)
        for name, value in _ALWAYS.items():
            headers.setdefault(name, value)


def page_policy(settings: Settings) -> str:
    """The Content-Security-Policy of the page."""
    own = " ".join(["'self'", *_origins(settings.url)])
    known = " ".join([own, *_origins(*(provider.issuer for provider in settings.oidc))])
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"font-src 'self'; connect-src {known}; frame-src {own}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _origins(*urls: str | None) -> list[str]:
    parts = [urlsplit(url) for url in urls if url is not None]
    return list(dict.fromkeys(f"{part.scheme}://{part.netloc}" for part in parts))
