"""The logs of jobs, from their creation on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import select

from openeo_nc.errors import InvalidParameterError
from openeo_nc.jobs import jobs
from openeo_nc.jobs.levels import LEVELS, Level, from_level
from openeo_nc.jobs.tables import JobRow, LogRow

if TYPE_CHECKING:
    from openeo_nc.jobs.database import Database


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One entry of a job's log."""

    id: str
    """A number that grows; `offset` of `listed`."""
    time: datetime
    """When it happened, UTC."""
    level: Level
    """Severity."""
    message: str
    """What happened."""
    code: str | None
    """openEO's code of an error."""
    data: Any
    """Any JSON that belongs to it."""


def add(
    db: Database, job_id: str, level: Level, message: str, data: Any = None,
    code: str | None = None,
) -> None:  # fmt: skip
    """Add an entry, unless the job is gone or asks for more severe ones only."""
    with db.write() as session:
        least = session.scalar(
            select(JobRow.log_level)
            .where(JobRow.id == job_id)
            .with_for_update(read=True, key_share=True)
        )
        if least is None or level not in from_level(cast("Level", least)):
            return
        session.add(
            LogRow(
                job_id=job_id, time=datetime.now(UTC), level=level, message=message, code=code,
                data=data,
            )
        )  # fmt: skip


def listed(
    db: Database, user: str, job_id: str, offset: str | None = None, limit: int | None = None,
    level: str = "debug",
) -> list[LogEntry]:  # fmt: skip
    """Entries after the one with the id `offset`, oldest first, of this level and more severe.

    Raises
    ------
    JobNotFoundError
    InvalidParameterError
        `offset` is no id of an entry, or there is no such level.
    """
    if level not in LEVELS:
        raise InvalidParameterError(f"'level' is one of {', '.join(LEVELS)}; given {level!r}.")
    jobs.get(db, user, job_id)
    entries = (
        select(LogRow)
        .where(LogRow.job_id == job_id, LogRow.level.in_(from_level(level)))
        .where(LogRow.id > _number(offset))
        .order_by(LogRow.id)
        .limit(limit)
    )
    with db.read() as session:
        return [_entry(row) for row in session.scalars(entries)]


def _number(offset: str | None) -> int:
    if offset is None or offset == "":
        return 0
    if not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        raise InvalidParameterError(f"'offset' is the id of a log entry; given {offset!r}.")
    return int(offset)


def _entry(row: LogRow) -> LogEntry:
    return LogEntry(
        id=str(row.id),
        time=row.time,
        level=cast("Level", row.level),
        message=row.message,
        code=row.code,
        data=row.data,
    )
