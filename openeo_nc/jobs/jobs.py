"""A user's jobs: created, listed, changed, queued, cancelled, and their results.

Every function takes the user; another user's job is not found. Statuses are openEO's:

    created --queue--> queued --claim--> running --publish--> finished
                          \\--cancel--> created    \\--cancel--> canceled
                                                   \\--fail--> error

What happens to running jobs, other than cancelling them, is in `claims`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy import update as update_of

from openeo_nc.errors import (
    JobFailedError,
    JobLimitError,
    JobLockedError,
    JobNotFinishedError,
    JobNotFoundError,
    NoDataForUpdateError,
    ProcessGraphMissingError,
)
from openeo_nc.jobs.documents import OPTIONS, fields_of
from openeo_nc.jobs.job import LOCKED, Job, Results, job_of, result_of
from openeo_nc.jobs.tables import DeletedRow, JobRow, LogRow, ShardRow, UsageRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from openeo_nc.jobs.database import Database


def create(
    db: Database, user: str, document: Mapping[str, Any], *, limit: int | None = None
) -> Job:
    """A new job of a user, from the body of openEO's `POST /jobs`; at most `limit` may exist.

    Raises
    ------
    ProcessGraphMissingError, InvalidParameterError, JobLimitError
    """
    fields = {"title": None, "description": None, "plan": None, "budget": None, "options": {},
              "log_level": "info"} | fields_of(document)  # fmt: skip
    if "process" not in fields:
        raise ProcessGraphMissingError("A job needs a process with a process_graph.")
    now = datetime.now(UTC)
    row = JobRow(
        id=str(uuid4()), user_id=user, status="created", progress=0.0, created=now, updated=now,
        token=0, claims=0, **fields,
    )  # fmt: skip
    with db.write() as session:
        if limit is not None and _count(session, user) >= limit:
            raise JobLimitError(f"There are {limit} jobs already; delete one of them first.")
        session.add(row)
        session.flush()
        return job_of(row)


def listed(db: Database, user: str, limit: int | None = None, offset: int = 0) -> list[Job]:
    """A user's jobs, the newest first."""
    jobs = (
        select(JobRow)
        .where(JobRow.user_id == user)
        .order_by(JobRow.created.desc(), JobRow.id)
        .limit(limit)
        .offset(offset)
    )
    with db.read() as session:
        return [job_of(row) for row in session.scalars(jobs)]


def get(db: Database, user: str, job_id: str) -> Job:
    """One job.

    Raises
    ------
    JobNotFoundError
    """
    with db.read() as session:
        return job_of(_found(session, user, job_id))


def update(db: Database, user: str, job_id: str, changes: Mapping[str, Any]) -> Job:
    """Change title, description, process, plan, budget, log_level or job_options.

    A job with another process is as new: its status is `created`, and its results are gone.

    Raises
    ------
    JobNotFoundError, JobLockedError, NoDataForUpdateError, ProcessGraphMissingError,
    InvalidParameterError
    """
    fields = fields_of(changes)
    if not fields:
        raise NoDataForUpdateError(
            "Nothing to be changed was given; possible are title, description, process, plan, "
            f"budget, log_level and {OPTIONS}."
        )
    with db.write() as session:
        row = _found(session, user, job_id, locked=True)
        _check_unlocked(row)
        for name, value in fields.items():
            setattr(row, name, value)
        if "process" in fields:
            row.status, row.progress = "created", 0.0
            row.attempt = row.results = row.error = row.usage = None
        row.updated = datetime.now(UTC)
        session.flush()
        return job_of(row)


def delete(db: Database, user: str, job_id: str) -> None:
    """Delete a job with its log; one that runs is stopped by it, and its files are swept later.

    Raises
    ------
    JobNotFoundError
    """
    with db.write() as session:
        _found(session, user, job_id, locked=True)
        for table in (LogRow, ShardRow, UsageRow):
            session.execute(delete_from(table).where(table.job_id == job_id))
        session.execute(delete_from(JobRow).where(JobRow.id == job_id))
        session.add(DeletedRow(id=job_id))


def queue(db: Database, user: str, job_id: str) -> Job:
    """Queue a job, whatever its results were; one that is queued or running is left as it is.

    Raises
    ------
    JobNotFoundError
    """
    with db.write() as session:
        row = _found(session, user, job_id, locked=True)
        if row.status not in LOCKED:
            for table in (ShardRow, UsageRow):
                session.execute(delete_from(table).where(table.job_id == job_id))
            now = datetime.now(UTC)
            row.status, row.progress, row.claims = "queued", 0.0, 0
            row.queued = row.updated = now
            row.started = row.lease_until = row.runner = row.attempt = None
            row.results = row.error = row.usage = None
            session.flush()
        return job_of(row)


def cancel(db: Database, user: str, job_id: str) -> Job:
    """Stop a job: one that runs becomes `canceled`, one that is queued `created` again.

    Its runner sees it at its next heartbeat. Other jobs are left as they are.

    Raises
    ------
    JobNotFoundError
    """
    with db.write() as session:
        _found(session, user, job_id, locked=True)
        for status, then in (("running", "canceled"), ("queued", "created")):
            session.execute(
                update_of(JobRow)
                .where(JobRow.id == job_id, JobRow.status == status)
                .values(status=then, updated=datetime.now(UTC), lease_until=None, runner=None)
            )
        session.expire_all()
        return job_of(_found(session, user, job_id))


def results(db: Database, user: str, job_id: str) -> Results:
    """The results of a finished job.

    Raises
    ------
    JobNotFoundError, JobNotFinishedError
    JobFailedError
        With code and message of what ended the job.
    """
    with db.read() as session:
        row = _found(session, user, job_id)
        if row.status == "error":
            error = row.error or {}
            raise JobFailedError(
                str(error.get("message", "The job failed.")), str(error.get("code", "Internal"))
            )
        if row.status != "finished" or row.results is None or row.attempt is None:
            raise JobNotFinishedError(f"The job is {row.status}; it has no results.")
        return Results(
            folder=PurePosixPath(row.id, row.attempt),
            results=tuple(result_of(one) for one in row.results["results"]),
            finished=row.updated,
        )


def _count(session: Session, user: str) -> int:
    return session.scalar(select(func.count()).where(JobRow.user_id == user)) or 0


def _found(session: Session, user: str, job_id: str, *, locked: bool = False) -> JobRow:
    """A user's job; `locked` keeps others from changing it until the transaction ends."""
    wanted = select(JobRow).where(JobRow.id == job_id, JobRow.user_id == user)
    row = session.scalar(wanted.with_for_update() if locked else wanted)
    if row is None:
        raise JobNotFoundError(f"The batch job '{job_id}' does not exist.")
    return row


def _check_unlocked(row: JobRow) -> None:
    if row.status in LOCKED:
        raise JobLockedError(f"The job is {row.status}; cancel it before it is changed.")
