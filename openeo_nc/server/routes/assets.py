"""Files of results by signed links, without a token: `/assets`."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import PurePosixPath

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from openeo_nc.errors import NotFoundError
from openeo_nc.server.requests import Served
from openeo_nc.server.sending import packed_store, sent

router = APIRouter(prefix="/assets", tags=["Batch Jobs"])

ZIP = ".zip"
"""Added to the name of a store for all of it in one file."""
_REDIRECTED = timedelta(hours=1)
"""Time of links to object storage itself; each request gets a new one."""


@router.get("/{signature}/{expires}/{path:path}", response_class=FileResponse)
@router.head("/{signature}/{expires}/{path:path}", include_in_schema=False)
def asset(request: Request, backend: Served, signature: str, expires: int, path: str) -> Response:
    """A file, an object of a store, or a store in a ZIP file."""
    named = PurePosixPath(path)
    backend.links.check(signature, expires, named)
    place = backend.results / named
    if place.is_file():
        redirect = _REDIRECTED if backend.settings.results_redirect else None
        with suppress(FileNotFoundError):  # it was deleted just now
            return sent(request, place, redirect)
    store = place.with_name(place.name.removesuffix(ZIP))
    if place.name.endswith(ZIP) and store.is_dir():
        return packed_store(store, head=request.method == "HEAD", name=place.name)
    raise NotFoundError("The file does not exist, or no longer.")
