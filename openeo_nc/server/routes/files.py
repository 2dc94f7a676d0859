"""Users' files: `/files`."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from openeo_nc.server.requests import Json, Limit, Offset, Served, SignedIn, pages

router = APIRouter(prefix="/files", tags=["File Storage"])


@router.get("")
def listed(
    request: Request, backend: Served, user: SignedIn, limit: Limit = None, offset: Offset = 0
) -> Json:
    """All files of the user."""
    page = backend.workspaces.listed(user)[offset:][:limit]
    return {
        "files": [file.to_dict() for file in page],
        "links": pages(request, backend, len(page), limit, offset),
    }


@router.get("/{path:path}", response_class=FileResponse)
def download(backend: Served, user: SignedIn, path: str) -> FileResponse:
    """A file."""
    place = backend.workspaces.find(user, path)
    return FileResponse(place, media_type="application/octet-stream", filename=place.name)


@router.put("/{path:path}")
async def upload(request: Request, backend: Served, user: SignedIn, path: str) -> Json:
    """Store the body as a file, in place of one that is there."""
    with backend.workspaces.upload(user, path) as file:
        async for block in request.stream():
            await to_thread.run_sync(file.write, block)
    return backend.workspaces.stored(user, path).to_dict()


@router.delete("/{path:path}", status_code=204)
def delete(backend: Served, user: SignedIn, path: str) -> Response:
    """Delete a file."""
    backend.workspaces.delete(user, path)
    return Response(status_code=204)
