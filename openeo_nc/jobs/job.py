"""A job and its results, as they were when they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

from openeo_nc.jobs.levels import Level

if TYPE_CHECKING:
    from openeo_nc.jobs.tables import JobRow

Status = Literal["created", "queued", "running", "canceled", "finished", "error"]
LOCKED = ("queued", "running")
"""Statuses in which a job cannot be changed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it was when it was read."""

    id: str
    """UUID."""
    user_id: str
    """Whose it is."""
    title: str | None
    """Title of the user."""
    description: str | None
    """Description of the user, CommonMark."""
    process: Mapping[str, Any]
    """Object with `process_graph`, and perhaps `parameters` and more."""
    plan: str | None
    """Billing plan."""
    budget: float | None
    """What the user wants to spend at most."""
    options: Mapping[str, Any]
    """`job_options`; `on_error` is known."""
    log_level: Level
    """Least severe level that is kept in the log."""
    status: Status
    """openEO's status."""
    progress: float
    """Percent of the objects of all results that are written; 0 before, 100 when finished."""
    created: datetime
    """When it was created, UTC."""
    updated: datetime
    """When its user, or its status, last changed it, UTC."""
    started: datetime | None
    """When it was first claimed since it was queued, UTC."""
    token: int
    """Claims that it ever had: the fencing token of the last."""
    claims: int
    """Claims since it was queued."""
    error: Mapping[str, Any] | None
    """`code` and `message` of what ended it."""
    usage: Mapping[str, Any] | None
    """openEO's usage metrics, each `{value, unit}`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One thing that save_result wrote: a file, several, or a store's folder."""

    format: str
    """Format as save_result names it."""
    files: tuple[PurePosixPath, ...]
    """Files, or the store's folder, relative to the attempt's folder."""
    documents: tuple[PurePosixPath, ...]
    """STAC that describes the files, relative to the same."""
    bytes: int
    """Bytes of all of them."""
    details: Mapping[str, Any]
    """What the writer reports beyond that; the report of a store."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of a finished job."""

    folder: PurePosixPath
    """Folder of the published attempt, relative to the folder of all results."""
    results: tuple[Result, ...]
    """In the order of the graph's save_result nodes."""
    finished: datetime
    """When they were published, UTC."""


def job_of(row: JobRow) -> Job:
    """A row as it is now."""
    return Job(
        id=row.id,
        user_id=row.user_id,
        title=row.title,
        description=row.description,
        process=row.process,
        plan=row.plan,
        budget=row.budget,
        options=row.options,
        log_level=cast("Level", row.log_level),
        status=cast("Status", row.status),
        progress=row.progress,
        created=row.created,
        updated=row.updated,
        started=row.started,
        token=row.token,
        claims=row.claims,
        error=row.error,
        usage=row.usage,
    )


def result_of(document: Mapping[str, Any]) -> Result:
    """A result as the job's row has it."""
    return Result(
        format=document["format"],
        files=tuple(map(PurePosixPath, document["files"])),
        documents=tuple(map(PurePosixPath, document.get("documents", ()))),
        bytes=document["bytes"],
        details=document["details"],
    )
