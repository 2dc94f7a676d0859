"""Users' own processes: `/process_graphs`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from openeo_nc.jobs import process_graphs
from openeo_nc.server.requests import Json, Limit, Offset, Process, Served, SignedIn, pages

router = APIRouter(prefix="/process_graphs", tags=["User-Defined Processes"])

ProcessId = Annotated[str, Path(pattern=r"^\w+$", max_length=200)]
_IN_LISTS = ("id", "summary", "description", "categories", "parameters", "returns", "deprecated",
             "experimental")  # fmt: skip


@router.get("")
def listed(
    request: Request, backend: Served, user: SignedIn, limit: Limit = None, offset: Offset = 0
) -> Json:
    """The user's processes, without their graphs."""
    found = process_graphs.listed(backend.database, user.id, limit, offset)
    return {
        "processes": [{n: one[n] for n in _IN_LISTS if n in one} for one in found],
        "links": pages(request, backend, len(found), limit, offset),
    }


@router.get("/{process_graph_id}")
def one(backend: Served, user: SignedIn, process_graph_id: ProcessId) -> Json:
    """A process with its graph."""
    return process_graphs.get(backend.database, user.id, process_graph_id)


@router.put("/{process_graph_id}")
def store(
    backend: Served, user: SignedIn, process_graph_id: ProcessId, process: Process
) -> Response:
    """Store a process, in place of one of the same id."""
    process_graphs.put(backend.database, user.id, process_graph_id, process.model_dump())
    return Response(status_code=200)


@router.delete("/{process_graph_id}", status_code=204)
def delete(backend: Served, user: SignedIn, process_graph_id: ProcessId) -> Response:
    """Delete a process."""
    process_graphs.delete(backend.database, user.id, process_graph_id)
    return Response(status_code=204)
