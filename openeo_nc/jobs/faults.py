"""What an exception means for a job: the error that its user sees, or another attempt."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from openeo_nc.cubes.growing import NO_SPACE
from openeo_nc.errors import (
    ClusterLostError,
    DatabaseBusyError,
    OpenEONCError,
    OutputExistsError,
    SchedulerUnreachableError,
    StorageUnavailableError,
)

_AGAIN = (
    ClusterLostError, DatabaseBusyError, SchedulerUnreachableError, StorageUnavailableError,
    OutputExistsError,
)  # fmt: skip
"""Of these the last is a task that ran again on an attempt's own folder after its worker died."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why an attempt ended."""

    code: str
    """openEO's code."""
    message: str
    """What the user reads."""
    again: bool
    """Whether another attempt may succeed, since not the job was at fault."""
    counts: bool = True
    """Whether this attempt is one of those that a job has; not if it could not begin."""

    def to_dict(self) -> dict[str, Any]:
        """As a job keeps it."""
        return {"code": self.code, "message": self.message}


def fault_of(error: BaseException) -> Fault:
    """What an exception of a run means."""
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    if isinstance(error, ClosedClientError | CancelledError):
        error = ClusterLostError("The connection to the cluster, or its tasks, were lost.")
    if isinstance(error, OpenEONCError):
        return Fault(
            code=error.code, message=error.message, again=isinstance(error, _AGAIN),
            counts=not isinstance(error, SchedulerUnreachableError),
        )  # fmt: skip
    if isinstance(error, SQLAlchemyError):  # its text names the database's place
        again = isinstance(error, InterfaceError | OperationalError) or _passing(error)
        return Fault(code="Internal", message="The server's database failed.", again=again)
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        message = f"There is no space left to store results: {error.strerror}."
        return Fault(code="StorageFailure", message=message, again=False)
    # FileNotFoundError: the folder or an object of an attempt was removed under its feet
    again = isinstance(error, CommClosedError | ConnectionError | FileNotFoundError | TimeoutError)
    return Fault(code="Internal", message=f"{type(error).__name__}: {error}", again=again)


def _passing(error: SQLAlchemyError) -> bool:
    """Whether PostgreSQL says by its SQLSTATE that it was lost, out of something, or in the way.

    The last two are transactions that did nothing for long, and locks that were waited for in vain.

    Its driver has one class for all that the server refuses.
    """
    told = getattr(getattr(error, "orig", None), "args", ())
    state = told[0].get("C", "") if told and isinstance(told[0], dict) else ""
    return str(state)[:2] in {"08", "40", "53", "57"} or state in {"25P03", "55P03"}
