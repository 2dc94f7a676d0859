"""Runs one claimed job in a process of its own: `python -m openeo_nc.jobs.runner JOB_ID TOKEN`.

What it needs to know comes as JSON on standard input, since a database's URL may hold a password,
which arguments and the environment would show. Exit statuses: 0 the job ended, in results or in
an error; 3 the runner was fenced off; 4 the job waits for another attempt.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from openeo_nc import log_lines
from openeo_nc.cluster import Certificates, connect
from openeo_nc.cubes.on_error import nodata_on_error, told
from openeo_nc.cubes.places import Place, below, place_of
from openeo_nc.graphs.run import run_graph
from openeo_nc.graphs.served import Serving, served_registry
from openeo_nc.jobs import claims, logs, usage
from openeo_nc.jobs.claims import Claim
from openeo_nc.jobs.database import Database
from openeo_nc.jobs.faults import Fault, fault_of
from openeo_nc.jobs.heart import AGAIN, ENDED, FENCED, Heart, Stopped
from openeo_nc.jobs.planning import checked
from openeo_nc.jobs.process_graphs import OwnProcesses
from openeo_nc.jobs.work import Work

if TYPE_CHECKING:
    from distributed import Client

    from openeo_nc.jobs.job import Job
    from openeo_nc.jobs.levels import Level

logger = logging.getLogger(__name__)

RETRY_SECONDS, RETRY_SECONDS_MOST = 2.0, 60.0
"""Pause before the second attempt at a job; each later one waits twice as long, up to the last."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a dispatcher tells its runners."""

    database: str
    """URL of the database."""
    folder: str
    """Folder of all results, a path or a URL of object storage."""
    scheduler: str | None = None
    """Address of the Dask scheduler; None starts a cluster for this job alone."""
    certificates: Certificates | None = None
    """Certificates of connections to it."""
    lease: float = claims.LEASE_SECONDS
    """Seconds that a heartbeat keeps the job for."""
    beat: float = 1.0
    """Seconds between heartbeats: a cancelled job stops within about that time."""
    job_seconds: float | None = None
    """Seconds that a job may take since its first claim."""
    max_claims: int = claims.MAX_CLAIMS
    """Attempts at a job; what fails the last one is the job's error."""

    def to_json(self) -> str:
        """For a runner's standard input."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """What `to_json` made."""
        told = json.loads(text)
        files = told.pop("certificates")
        return cls(**told, certificates=None if files is None else Certificates(**files))


def run(orders: Orders, job_id: str, token: int) -> int:
    """Run a claimed job to its end; gives the exit status."""
    db = Database.open(orders.database, migrate=False)
    claim = Claim(job_id=job_id, token=token, attempt=claims.attempt_of(token))
    job = claims.claimed(db, job_id, token)
    if job is None:
        return FENCED
    heart = Heart(
        db=db, claim=claim, lease=orders.lease, beat=orders.beat, until=_until(job, orders)
    )
    signal.signal(signal.SIGTERM, lambda *_: heart.stop.set("ended"))
    began = time.monotonic()
    try:
        with heart.beating():
            try:
                return _attempt(orders, job, claim, heart, began)
            except Stopped:
                return heart.concluded()
            except Exception as error:  # noqa: BLE001  whatever it is, the job must not be lost
                return _failed(orders, job, heart, error, began)
    finally:
        db.close()


def _attempt(orders: Orders, job: Job, claim: Claim, heart: Heart, began: float) -> int:
    db, number = heart.db, claim.token
    logs.add(db, job.id, "info", "The job starts." if number == 1 else f"Attempt {number} starts.")
    folder = place_of(orders.folder) / job.id / claim.attempt

    def progressed(done: int, of: int) -> None:
        heart.progress = 100.0 * done / max(of, 1)

    with _connected(orders) as client, usage.counted(client, db, claim, began):
        work = Work(
            db=db, claim=claim, client=client, stop=heart.stop, progressed=progressed,
            forgiving=_forgives(job),
        )  # fmt: skip
        serving = Serving.of_environment()

        def tell(level: str, message: str) -> None:
            logs.add(db, job.id, cast("Level", level), message)

        with _forgiving(job), serving.running(client, job.id, job.user_id, tell):
            saved = run_graph(
                job.process, folder, registry=served_registry(serving),
                user_processes=OwnProcesses(db, job.user_id), ledger=work,
                planned=checked(client, folder, db, job.id),
            )  # fmt: skip
        for message in told(client, _topic(job)):
            logs.add(db, job.id, "warning", message)
    heart.stop.check()
    results = [_relative(one, folder) for one in saved]
    total = usage.total(db, job.id, stored=sum(one["bytes"] for one in results))
    if not claims.publish(db, job.id, claim.token, results, total):
        return FENCED
    kept = f"; {work.kept} objects were there from earlier attempts" if work.kept else ""
    logs.add(db, job.id, "info", f"The job is finished{kept}.")
    return ENDED


def _connected(orders: Orders) -> AbstractContextManager[Client]:
    return connect(orders.scheduler, certificates=orders.certificates)


def _forgiving(job: Job) -> AbstractContextManager[None]:
    """Within it, what cannot be read is no data if the job asks for that."""
    if _forgives(job):
        return nodata_on_error(_topic(job))
    return nullcontext()


def _forgives(job: Job) -> bool:
    return job.options.get("on_error") == "nodata"


def _topic(job: Job) -> str:
    """Where workers tell of what the job passed over: the same in each attempt, as tasks name it."""
    return f"openeo-nc-{job.id}"


def _failed(orders: Orders, job: Job, heart: Heart, error: Exception, began: float) -> int:
    db, claim = heart.db, heart.claim
    fault = fault_of(error)
    if fault.again and heart.stop.reason is not None:  # it was to stop in any case
        return heart.concluded()
    logger.warning("Job %s, attempt %d", job.id, claim.token, exc_info=error)
    usage.add(db, claim, seconds=time.monotonic() - began)
    if fault.again and (job.claims < orders.max_claims or not fault.counts):
        if not claims.release(
            db, job.id, claim.token, after=_pause(job, fault), counts=fault.counts
        ):
            return FENCED
        message = f"The attempt failed and is repeated: {fault.message}"
        logs.add(db, job.id, "warning", message, code=fault.code)
        return AGAIN
    if not claims.fail(db, job.id, claim.token, fault.to_dict(), usage.total(db, job.id)):
        return FENCED
    logs.add(db, job.id, "error", fault.message, code=fault.code)
    return ENDED


def _pause(job: Job, fault: Fault) -> float:
    """Seconds until the next attempt: of those that do not count there is no end, so no hurry."""
    before = job.claims - 1 if fault.counts else job.token - job.claims
    return float(min(RETRY_SECONDS * 2 ** min(before, 10), RETRY_SECONDS_MOST))


def _until(job: Job, orders: Orders) -> float | None:
    if orders.job_seconds is None or job.started is None:
        return None
    return job.started.timestamp() + orders.job_seconds


def _relative(saved: Mapping[str, Any], folder: Place) -> dict[str, Any]:
    """A result as the job keeps it: its paths do not say where results lie."""
    known = ("path", "format", "files", "documents", "bytes")
    details = {name: value for name, value in saved.items() if name not in known}
    if isinstance(report := details.get("report"), Mapping):
        details["report"] = {name: value for name, value in report.items() if name != "path"}
    paths = {
        name: [below(place_of(file), folder).as_posix() for file in saved[name]]
        for name in ("files", "documents")
    }
    return {"format": saved["format"], "bytes": saved["bytes"], "details": details, **paths}


def configure_logging() -> None:
    """Have the log of a process of runners tell what went wrong."""
    log_lines.configure(level=logging.WARNING)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    configure_logging()
    job_id, token = arguments
    return run(Orders.from_json(sys.stdin.read()), job_id, int(token))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
