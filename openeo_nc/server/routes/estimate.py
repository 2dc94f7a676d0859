"""What a job will take, before it is started: `/jobs/{job_id}/estimate`."""

from __future__ import annotations

from fastapi import APIRouter

from openeo_nc.jobs import jobs
from openeo_nc.server import estimates
from openeo_nc.server.requests import Json, Served, SignedIn

router = APIRouter(prefix="/jobs", tags=["Batch Jobs"])


@router.get("/{job_id}/estimate")
def estimate(backend: Served, user: SignedIn, job_id: str) -> Json:
    """Size, duration and costs of a job, and the plan that they come from."""
    job = jobs.get(backend.database, user.id, job_id)
    return estimates.document(backend, estimates.estimated(backend, job))
