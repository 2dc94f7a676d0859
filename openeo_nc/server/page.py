"""The page that a browser gets at `/`, and the files that it is made of.

`make page` builds it from `web/` into `static/`, which wheels carry. Without it browsers get a plain page
that says how to build it; programs get the capabilities at `/` in any case.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from openeo_nc.server.measured import codecs
from openeo_nc.server.requests import Json

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).resolve().parent / "static"
"""What `make page` builds: `index.html`, and `page/` with all that it asks for."""
_PLAIN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>openEO server</title>
<h1>This is an openEO server</h1>
<p>Connect to this URL with an openEO client: Python, JavaScript, R or the Web Editor. It is installed
without its page for browsers. In a checkout of openeo_nc, <code>make page</code> builds it.</p>
<p>For programs: <a href="conformance">conformance</a>, <a href="collections">collections</a>,
<a href="processes">processes</a>, <a href="openapi.json">all routes</a>.</p>
</html>
"""


class ForBrowsers(Route):
    """A route only for those who would rather have HTML than JSON, as browsers say that they do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As a route; none for programs, which other routes of the same path answer."""
        if scope["type"] != "http" or not _wants_html(Request(scope).headers.get("accept", "")):
            return Match.NONE, {}
        return super().matches(scope)


@router.get("/page/codecs.json")
def measured_codecs() -> Json:
    """The codecs, and the rates and distortions that were measured of them."""
    return codecs()


def install(app: FastAPI, static: Path = STATIC) -> None:
    """Have an application answer browsers; before it gets another route of `/`."""
    index = static / "index.html"
    built = index.is_file()

    def page(request: Request) -> Response:
        return FileResponse(index) if built else HTMLResponse(_PLAIN)

    app.router.routes.append(ForBrowsers("/", page, methods=["GET"], include_in_schema=False))
    app.include_router(router)
    if built:
        app.mount("/page", GZipMiddleware(StaticFiles(directory=static / "page")))


def _wants_html(accept: str) -> bool:
    """Whether an Accept header names HTML, and JSON not before it."""
    weights = dict(map(_weighed, accept.split(",")))
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def _weighed(part: str) -> tuple[str, float]:
    kind, *options = (piece.strip().lower() for piece in part.split(";"))
    weight = next((option[2:] for option in options if option.startswith("q=")), "1")
    try:
        return kind, float(weight)
    except ValueError:
        return kind, 0.0
