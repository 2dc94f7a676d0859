"""Removes what is left of jobs: folders of deleted ones, and attempts that were not published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.cubes.places import Place, remove
from openeo_nc.jobs.job import LOCKED
from openeo_nc.jobs.tables import DeletedRow, JobRow

if TYPE_CHECKING:
    from openeo_nc.jobs.database import Database


def sweep(db: Database, folder: Place) -> None:
    """Remove from the folder of all results what no job needs; jobs that run keep everything.

    Of jobs that the database does not know, only those go that it says were deleted: a server that
    is started with an empty database, or an older one, removes nothing of others.

    Raises
    ------
    StorageRefusedError, StorageUnavailableError
        Object storage cannot be listed, or takes no deletion.
    """
    there: list[Place] = (
        [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    )
    for path in there:
        # asked for one by one, since a job may begin meanwhile
        with db.read() as session:
            row = session.get(JobRow, path.name)
            status, published = (None, None) if row is None else (row.status, row.attempt)
            deleted = row is None and session.get(DeletedRow, path.name) is not None
        if deleted:
            remove(path)
        elif status is not None and status not in LOCKED:
            attempts: list[Place] = [*path.iterdir()]
            for attempt in attempts:
                if attempt.name != published:
                    remove(attempt)
