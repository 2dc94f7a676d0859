"""Counts jobs: by status, by how long they have waited, and those whose runner is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from openeo_nc.jobs.tables import JobRow

if TYPE_CHECKING:
    from openeo_nc.jobs.database import Database

STATUSES = ("created", "queued", "running", "canceled", "finished", "error")
"""openEO's statuses of a job."""


@dataclass(frozen=True, kw_only=True)
class Census:
    """All jobs of a database at one moment, whichever server runs them."""

    jobs: Mapping[str, int]
    """Jobs by status; each status is there."""
    waiting_seconds: float
    """How long the job that is first in the queue has waited; 0 if none waits."""
    silent: int
    """Running jobs whose lease is over: nobody works on them until they are claimed again."""


def take(db: Database, *, now: datetime | None = None) -> Census:
    """Count the jobs of a database."""
    moment = datetime.now(UTC) if now is None else now
    with db.read() as session:
        found = session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))
        counts = {row[0]: row[1] for row in found}
        first = session.scalar(select(func.min(JobRow.queued)).where(JobRow.status == "queued"))
        silent = session.scalar(
            select(func.count())
            .select_from(JobRow)
            .where(JobRow.status == "running", JobRow.lease_until < moment)
        )
    return Census(
        jobs={status: counts.get(status, 0) for status in STATUSES},
        waiting_seconds=0.0 if first is None else max(0.0, (moment - first).total_seconds()),
        silent=silent or 0,
    )
