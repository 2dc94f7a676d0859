"""The tables: jobs, their logs, the shards they wrote, what they used, and users' processes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A point in time with its zone, kept as UTC; SQLite has no zones, so it gets none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment(),
        dict[str, Any]: JSON(none_as_null=True),
    }


class JobRow(Table):
    """A job. `status` and `token` change together or not at all, by one UPDATE each time."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255), index=True)
    title: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    process: Mapped[dict[str, Any]]
    plan: Mapped[str | None] = mapped_column(String(255))
    budget: Mapped[float | None]
    options: Mapped[dict[str, Any]]
    log_level: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float]
    created: Mapped[datetime]
    updated: Mapped[datetime]
    queued: Mapped[datetime | None]
    started: Mapped[datetime | None]
    token: Mapped[int]
    claims: Mapped[int]
    lease_until: Mapped[datetime | None]
    runner: Mapped[str | None] = mapped_column(String(255))
    attempt: Mapped[str | None] = mapped_column(String(64))
    results: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    usage: Mapped[dict[str, Any] | None]

    __table_args__ = (Index("ix_jobs_to_claim", "status", "queued"),)


class LogRow(Table):
    """One entry of a job's log."""

    __tablename__ = "log_entries"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    time: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(String(255))
    data: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))

    # ids of deleted entries are not given again
    __table_args__ = ({"sqlite_autoincrement": True},)


class ShardRow(Table):
    """The ledger: an object of a result that an attempt of a job has written."""

    __tablename__ = "shards"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    output: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    places: Mapped[list[str]] = mapped_column(JSON)
    bytes: Mapped[int] = mapped_column(BigInteger)
    details: Mapped[Any] = mapped_column(JSON)
    token: Mapped[int]
    time: Mapped[datetime]


class UsageRow(Table):
    """What one attempt of a job has used, kept up to date by its heartbeat."""

    __tablename__ = "usage"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seconds: Mapped[float]
    cpu_seconds: Mapped[float]
    counts: Mapped[dict[str, Any] | None]


class DeletedRow(Table):
    """A job that was deleted: results of jobs that nobody knows are removed only if they are here.

    Rows stay, since a runner may write a moment longer than its job is there.
    """

    __tablename__ = "deleted_jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)


class ProcessRow(Table):
    """A user's own process."""

    __tablename__ = "process_graphs"

    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    document: Mapped[dict[str, Any]]
    updated: Mapped[datetime]
