"""The ledger of a job in the database: the objects of its results that its attempts have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from openeo_nc.cubes.ledger import Written
from openeo_nc.cubes.places import place_of
from openeo_nc.jobs.tables import JobRow, ShardRow

if TYPE_CHECKING:
    from openeo_nc.jobs.database import Database

_ASKED_AT_ONCE = 16


def written(db: Database, job_id: str, output: str, fingerprint: str) -> Mapping[str, Written]:
    """Objects of a result that are still there, by key; see `cubes.ledger`."""
    rows = select(ShardRow).where(
        ShardRow.job_id == job_id,
        ShardRow.output == output,
        ShardRow.fingerprint == fingerprint,
    )
    with db.read() as session:
        found = {row.key: _written(row) for row in session.scalars(rows)}
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:  # object storage is asked for each
        there = list(threads.map(Written.path, found.values()))
    return {key: one for (key, one), at in zip(found.items(), there, strict=True) if at}


def record(db: Database, job_id: str, token: int, objects: Sequence[Written]) -> bool:
    """Remember objects; false, and nothing is, if the job is no longer this claim's."""
    with db.write() as session:
        mine = session.scalar(
            select(JobRow.id)
            .where(JobRow.id == job_id, JobRow.token == token, JobRow.status == "running")
            .with_for_update()
        )
        if mine is None:
            return False
        for one in objects:
            row = _row(job_id, token, one)
            before = session.get(ShardRow, (job_id, one.output, one.key))
            if one.kept and before is not None:  # it stays that of the attempt that computed it
                row.token = before.token
            session.merge(row)
        return True


def attempts(db: Database, job_id: str) -> dict[tuple[str, str], int]:
    """Token of the claim that computed each object, by the names of its result and itself."""
    rows = select(ShardRow.output, ShardRow.key, ShardRow.token).where(ShardRow.job_id == job_id)
    with db.read() as session:
        return {(output, key): token for output, key, token in session.execute(rows)}


def _row(job_id: str, token: int, one: Written) -> ShardRow:
    return ShardRow(
        job_id=job_id,
        output=one.output,
        key=one.key,
        fingerprint=one.fingerprint,
        places=list(map(str, one.places)),
        bytes=one.bytes,
        details=dict(one.details),
        token=token,
        time=datetime.now(UTC),
    )


def _written(row: ShardRow) -> Written:
    return Written(
        output=row.output,
        fingerprint=row.fingerprint,
        key=row.key,
        bytes=row.bytes,
        places=tuple(map(place_of, row.places)),
        details=row.details,
    )
