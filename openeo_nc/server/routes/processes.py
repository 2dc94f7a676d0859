"""What graphs may use: `/processes`, `/udf_runtimes`, `/service_types`, and `/validation`."""

from __future__ import annotations

from fastapi import APIRouter

from openeo_nc.errors import ProcessGraphMissingError
from openeo_nc.graphs import validate
from openeo_nc.graphs.served import served_registry
from openeo_nc.jobs.process_graphs import OwnProcesses
from openeo_nc.server.requests import Anybody, Document, Json, Served
from openeo_nc.udf.runtimes import runtimes

router = APIRouter(tags=["Process Discovery"])

VERSION = "2.0.0-rc.1"
"""Of openEO's processes that the definitions keep to."""
_NO_GRAPH = "The process has no object `process_graph`."


@router.get("/processes")
def processes(backend: Served) -> Json:
    """Definitions of all processes, by id.

    They are one page whatever `limit` says, as openEO allows: its JavaScript client builds graphs from
    the processes of the first page.
    """
    specs = (process.spec for process in served_registry(backend.serving).values())
    return {
        "version": VERSION,
        "processes": sorted(specs, key=lambda spec: str(spec["id"])),
        "links": [],
    }


@router.get("/udf_runtimes")
def udf_runtimes(backend: Served) -> Json:
    """What code of users runs in, with the libraries that are installed."""
    return runtimes() if backend.serving.udfs else {}


@router.get("/service_types")
def service_types() -> Json:
    """None: there are no secondary web services."""
    return {}


@router.post("/validation")
def validation(backend: Served, user: Anybody, process: Document) -> Json:
    """What is wrong with a process, found without running it."""
    if not isinstance(process.get("process_graph"), dict):
        return {"errors": [{"code": ProcessGraphMissingError.code, "message": _NO_GRAPH}]}
    own = None if user is None else OwnProcesses(backend.database, user.id)
    faults = validate(
        process, registry=served_registry(backend.serving), user_processes=own, unresolved=True
    )
    return {"errors": [{"code": fault.code, "message": fault.message} for fault in faults]}
