"""Batch jobs: `/jobs`, their start and end, and their logs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from openeo_nc.cubes.places import remove
from openeo_nc.errors import StorageRefusedError, StorageUnavailableError
from openeo_nc.jobs import jobs, logs, usage
from openeo_nc.jobs.job import LOCKED, Job
from openeo_nc.server import estimates
from openeo_nc.server.requests import (
    Document,
    Json,
    Limit,
    Offset,
    ProcessRequest,
    Served,
    SignedIn,
    base,
    moment,
    pages,
)

router = APIRouter(prefix="/jobs", tags=["Batch Jobs"])

_SHORT = ("process", "usage")
"""Fields of a job that lists leave out."""


@router.get("")
def listed(
    request: Request, backend: Served, user: SignedIn, limit: Limit = None, offset: Offset = 0
) -> Json:
    """The user's jobs, the newest first."""
    found = [_document(job) for job in jobs.listed(backend.database, user.id, limit, offset)]
    return {
        "jobs": [{k: v for k, v in one.items() if k not in _SHORT} for one in found],
        "links": pages(request, backend, len(found), limit, offset),
    }


@router.post("", status_code=201)
def create(request: Request, backend: Served, user: SignedIn, job: ProcessRequest) -> Response:
    """Make a job; nothing is computed until it is started."""
    estimates.check_billing_plan(backend, job.model_dump().get("plan"))
    made = jobs.create(
        backend.database, user.id, job.model_dump(), limit=backend.settings.jobs_per_user
    )
    logs.add(backend.database, made.id, "info", "The job was created.")
    place = f"{base(request, backend)}/jobs/{made.id}"
    return Response(status_code=201, headers={"Location": place, "OpenEO-Identifier": made.id})


@router.get("/{job_id}")
def one(backend: Served, user: SignedIn, job_id: str) -> Json:
    """A job with all that is known of it."""
    job = jobs.get(backend.database, user.id, job_id)
    if job.status == "canceled":  # its runner learns of that later, and then says what it used
        job = replace(job, usage=usage.total(backend.database, job.id))
    return _document(job)


@router.patch("/{job_id}", status_code=204)
def update(backend: Served, user: SignedIn, job_id: str, changes: Document) -> Response:
    """Change a job that is neither queued nor running."""
    estimates.check_billing_plan(backend, changes.get("plan"))
    jobs.update(backend.database, user.id, job_id, changes)
    return Response(status_code=204)


@router.delete("/{job_id}", status_code=204)
def delete(backend: Served, user: SignedIn, job_id: str) -> Response:
    """Delete a job and its results; it is stopped if it runs."""
    jobs.delete(backend.database, user.id, job_id)
    with suppress(StorageUnavailableError, StorageRefusedError):  # then it is swept later
        remove(backend.results / job_id)
    return Response(status_code=204)


@router.post("/{job_id}/results", status_code=202, tags=["Data Processing"])
def start(backend: Served, user: SignedIn, job_id: str) -> Response:
    """Queue a job, if its budget is enough for it."""
    job = jobs.get(backend.database, user.id, job_id)
    if job.status not in LOCKED:
        estimates.check_budget(backend, job)
    jobs.queue(backend.database, user.id, job_id)
    return Response(status_code=202)


@router.delete("/{job_id}/results", status_code=204, tags=["Data Processing"])
def cancel(backend: Served, user: SignedIn, job_id: str) -> Response:
    """Stop a job that is queued or running."""
    jobs.cancel(backend.database, user.id, job_id)
    return Response(status_code=204)


@router.get("/{job_id}/logs")
def log(
    backend: Served,
    user: SignedIn,
    job_id: str,
    offset: str | None = None,
    level: Literal["debug", "info", "warning", "error"] = "debug",
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
) -> Json:
    """What happened to a job, from its creation on."""
    entries = logs.listed(backend.database, user.id, job_id, offset, limit, level)
    return {
        "level": level,
        "logs": [
            {
                "id": entry.id,
                "time": moment(entry.time),
                "level": entry.level,
                "message": entry.message,
                **({} if entry.code is None else {"code": entry.code}),
                **({} if entry.data is None else {"data": entry.data}),
            }
            for entry in entries
        ],
        "links": [],
    }


def _document(job: Job) -> Json:
    """A job as openEO has it; what is not known is left out."""
    fields: Json = {
        "id": job.id,
        "title": job.title,
        "description": job.description,
        "process": dict(job.process),
        "status": job.status,
        "progress": job.progress,
        "created": moment(job.created),
        "updated": moment(job.updated),
        "plan": job.plan,
        "budget": job.budget,
        "log_level": job.log_level,
        "usage": None if job.usage is None else dict(job.usage),
    }
    return {name: value for name, value in fields.items() if value is not None}
