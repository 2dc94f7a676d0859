"""Sends files of results: from a folder, or from object storage in parts or by its own links."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath

from fastapi import Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place
from openeo_nc.errors import RangeInvalidError
from openeo_nc.server.formats import media_type
from openeo_nc.server.packing import zipped

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def sent(request: Request, place: Place, redirect: timedelta | None) -> Response:
    """A file, or what of it was asked for.

    Parameters
    ----------
    redirect
        Time of the storage's own links, where clients are sent to it; None sends what it holds.

    Raises
    ------
    RangeInvalidError
    FileNotFoundError
        There is none, or no longer.
    """
    if not isinstance(place, ObjectPath):
        return FileResponse(place, media_type=media_type(place))
    if redirect is not None:
        return RedirectResponse(place.signed(request.method, redirect), status_code=307)
    size = place.stat().st_size
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(size)}
    start, end, status = 0, size, 200
    if (asked := _range(request, size)) is not None:
        (start, end), status = asked, 206
        headers |= {
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
        }
    kind = media_type(PurePosixPath(place.key))
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, media_type=kind, headers=headers)
    parts = place.read_parts(start, end)
    return StreamingResponse(parts, status_code=status, media_type=kind, headers=headers)


def packed_store(store: Place, *, head: bool, name: str) -> Response:
    """All of a store in a ZIP file, made while it is sent."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if head:
        return Response(media_type="application/zip", headers=headers)
    return StreamingResponse(zipped(store), media_type="application/zip", headers=headers)


def _range(request: Request, size: int) -> tuple[int, int] | None:
    """The part that was asked for; None is all, as for several parts at once."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise RangeInvalidError(f"The file has {size} bytes; the range has none of them.")
    return start, end
