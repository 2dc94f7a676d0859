"""Who runs a job: claims with fencing tokens, leases, and the one update that ends a run.

A claim takes the next number of the job's token. Whatever a runner then says of the job is one
UPDATE with its token in its WHERE; if the job is somebody else's by now, was cancelled or deleted,
nothing is changed and the answer is false: the runner was fenced off, and stops. Publishing is
such an update too, so that results are either all visible or not there.

A lease is told by the clock. It decides when a job may be claimed again, never who may publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, and_, func, or_, select, update
from sqlalchemy.orm import aliased

from openeo_nc.jobs.job import Job, job_of
from openeo_nc.jobs.tables import JobRow

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

    from openeo_nc.jobs.database import Database

LEASE_SECONDS = 30.0
"""How long a runner that is silent keeps its job."""
_CLAIMING = 0x636C6169  # "clai": the lock of those that claim on PostgreSQL
MAX_CLAIMS = 5
"""Claims of a job, since it was queued, after which it is given up."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to run a job, until another claim takes a higher token."""

    job_id: str
    """The job."""
    token: int
    """Number of this claim, higher than that of any earlier one."""
    attempt: str
    """Folder of this attempt, within the job's."""


def claim(
    db: Database, runner: str, *, now: datetime | None = None, lease: float = LEASE_SECONDS,
    per_user: int | None = None, max_claims: int = MAX_CLAIMS,
) -> Claim | None:  # fmt: skip
    """Take the job that waits longest: a queued one, or one whose runner is silent.

    Parameters
    ----------
    runner
        Who takes it, for people who look: host and process.
    per_user
        Jobs of one user that may run at a time; queued ones beyond that wait.
    max_claims
        Claims that a job may have had since it was queued.
    """
    moment = datetime.now(UTC) if now is None else now
    with db.write() as session:
        if per_user is not None:  # two that count a user's jobs at once would both find room
            db.alone(session, _CLAIMING)
        job_id = session.scalar(
            select(JobRow.id)
            .where(_claimable(moment, per_user), JobRow.claims < max_claims)
            .order_by(JobRow.queued, JobRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if job_id is None:
            return None
        taken = session.execute(
            update(JobRow)
            .where(JobRow.id == job_id, _claimable(moment, None))
            .values(
                status="running",
                token=JobRow.token + 1,
                claims=JobRow.claims + 1,
                lease_until=moment + timedelta(seconds=lease),
                runner=runner,
                started=func.coalesce(JobRow.started, moment),
                updated=moment,
            )
            .returning(JobRow.token)
            .execution_options(synchronize_session=False)
        ).scalar()
        if taken is None:
            return None
        return Claim(job_id=job_id, token=taken, attempt=attempt_of(taken))


def attempt_of(token: int) -> str:
    """Name of an attempt's folder."""
    return f"attempt-{token}"


def heartbeat(
    db: Database, job_id: str, token: int, *, now: datetime | None = None,
    lease: float = LEASE_SECONDS, progress: float | None = None,
) -> bool:  # fmt: skip
    """Keep the job for another lease; false if it is no longer this claim's."""
    values: dict[str, Any] = {"lease_until": _later(now, lease)}
    if progress is not None:
        values["progress"] = progress
    return _changed(db, job_id, token, values)


def publish(
    db: Database, job_id: str, token: int, results: Sequence[Mapping[str, Any]],
    usage: Mapping[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Make the results of this attempt those of the job, which is finished by it."""
    return _ended(
        db, job_id, token, status="finished", progress=100.0, attempt=attempt_of(token),
        results={"results": [dict(result) for result in results]}, usage=usage,
    )  # fmt: skip


def fail(
    db: Database, job_id: str, token: int, error: Mapping[str, Any],
    usage: Mapping[str, Any] | None = None,
) -> bool:  # fmt: skip
    """End the job with an error, an object with `code` and `message`."""
    return _ended(db, job_id, token, status="error", error=dict(error), usage=usage)


def release(
    db: Database, job_id: str, token: int, *, after: float = 0.0, counts: bool = True
) -> bool:
    """Let the job be claimed in `after` seconds; what it wrote counts for the next attempt.

    Parameters
    ----------
    counts
        Whether this claim is one of those that a job may have; false if it ended for a reason that
        has nothing to do with the job.
    """
    values: dict[str, Any] = {"lease_until": _later(None, after)}
    if not counts:
        values["claims"] = JobRow.claims - 1
    return _changed(db, job_id, token, values)


def claimed(db: Database, job_id: str, token: int) -> Job | None:
    """The job, if it is this claim's."""
    with db.read() as session:
        row = session.scalar(
            select(JobRow).where(
                JobRow.id == job_id, JobRow.token == token, JobRow.status == "running"
            )
        )
        return None if row is None else job_of(row)


def give_up(
    db: Database, error: Mapping[str, Any], *, now: datetime | None = None,
    max_claims: int = MAX_CLAIMS,
) -> list[str]:  # fmt: skip
    """End jobs with an error that had all their claims and lost the last runner too; their ids."""
    moment = datetime.now(UTC) if now is None else now
    with db.write() as session:
        rows = session.execute(
            update(JobRow)
            .where(_silent(moment), JobRow.claims >= max_claims)
            .values(status="error", error=dict(error), lease_until=None, updated=moment)
            .returning(JobRow.id)
            .execution_options(synchronize_session=False)
        )
        return list(rows.scalars())


def _silent(now: datetime) -> ColumnElement[bool]:
    return and_(JobRow.status == "running", JobRow.lease_until < now)


def _claimable(now: datetime, per_user: int | None) -> ColumnElement[bool]:
    queued: ColumnElement[bool] = JobRow.status == "queued"
    if per_user is not None:
        other = aliased(JobRow)
        running = (
            select(func.count())
            .select_from(other)
            .where(other.user_id == JobRow.user_id, other.status == "running")
            .scalar_subquery()
        )
        queued = and_(queued, running < per_user)
    return or_(queued, _silent(now))


def _ended(db: Database, job_id: str, token: int, **values: Any) -> bool:
    return _changed(
        db, job_id, token, {"updated": datetime.now(UTC), "lease_until": None, **values}
    )


def _changed(db: Database, job_id: str, token: int, values: Mapping[str, Any]) -> bool:
    """The compare-and-swap of a running job."""
    with db.write() as session:
        done = session.execute(
            update(JobRow)
            .where(JobRow.id == job_id, JobRow.token == token, JobRow.status == "running")
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        return cast("CursorResult[Any]", done).rowcount == 1


def _later(now: datetime | None, lease: float) -> datetime:
    return (datetime.now(UTC) if now is None else now) + timedelta(seconds=lease)
