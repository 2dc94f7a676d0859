"""Whether the server lives, `/health`, and whether it can do its work, `/ready`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from openeo_nc.server.requests import Json

router = APIRouter(tags=["Operations"])


@router.get("/health")
async def health() -> Json:
    """It answers; not in a thread, as all of those may wait for a database that is away."""
    return {"status": "ok"}


@router.get("/ready")
def ready(request: Request) -> JSONResponse:
    """Its parts have started, and the database and the scheduler answer."""
    backend = getattr(request.app.state, "backend", None)
    failing = ["server"] if backend is None else backend.failing()
    status = {"status": "failing" if failing else "ok", "failing": failing}
    return JSONResponse(status, status_code=503 if failing else 200)
