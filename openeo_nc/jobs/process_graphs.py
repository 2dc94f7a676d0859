"""Users' own processes: stored, listed, and handed to whoever runs their graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select

from openeo_nc.errors import ProcessGraphNotFoundError
from openeo_nc.jobs.documents import process_of
from openeo_nc.jobs.tables import ProcessRow

if TYPE_CHECKING:
    from openeo_nc.jobs.database import Database


def put(db: Database, user: str, process_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Store a process, in place of one of the same id; gives it as it is stored.

    Raises
    ------
    ProcessGraphMissingError
    """
    stored = process_of(document) | {"id": process_id}
    with db.write() as session:
        row = ProcessRow(
            user_id=user, id=process_id, document=stored, updated=datetime.now(UTC)
        )  # fmt: skip
        session.merge(row)
    return stored


def get(db: Database, user: str, process_id: str) -> dict[str, Any]:
    """A process: an object with `id`, `process_graph` and whatever else it was stored with.

    Raises
    ------
    ProcessGraphNotFoundError
    """
    found = _find(db, user, process_id)
    if found is None:
        raise ProcessGraphNotFoundError(f"There is no process '{process_id}' of yours.")
    return found


def listed(
    db: Database, user: str, limit: int | None = None, offset: int = 0
) -> list[dict[str, Any]]:
    """A user's processes by id."""
    documents = (
        select(ProcessRow.document)
        .where(ProcessRow.user_id == user)
        .order_by(ProcessRow.id)
        .limit(limit)
        .offset(offset)
    )
    with db.read() as session:
        return list(session.scalars(documents))


def delete(db: Database, user: str, process_id: str) -> None:
    """Delete a process.

    Raises
    ------
    ProcessGraphNotFoundError
    """
    get(db, user, process_id)
    with db.write() as session:
        session.execute(
            delete_from(ProcessRow).where(ProcessRow.user_id == user, ProcessRow.id == process_id)
        )


class OwnProcesses(Mapping[str, Any]):
    """A user's processes as graphs take them: read when a node that runs one is reached."""

    def __init__(self, db: Database, user: str) -> None:
        self.db, self.user = db, user

    def __getitem__(self, process_id: str) -> Any:
        found = _find(self.db, self.user, process_id)
        if found is None:
            raise KeyError(process_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([document["id"] for document in listed(self.db, self.user)])

    def __len__(self) -> int:
        return len(listed(self.db, self.user))


def _find(db: Database, user: str, process_id: str) -> dict[str, Any] | None:
    with db.read() as session:
        row = session.get(ProcessRow, (user, process_id))
        return None if row is None else row.document
