"""Claims jobs and starts a runner process for each; any number of dispatchers share a database.

Runners are on their own once they are started (`starting`): they keep their claims themselves, and
go on if the dispatcher dies. A runner that dies is seen at once by the dispatcher that started it, else by
its lease, and its job is claimed again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from openeo_nc import metrics
from openeo_nc.errors import JobLostError, OpenEONCError
from openeo_nc.jobs import claims, logs
from openeo_nc.jobs.heart import AGAIN, ENDED, FENCED
from openeo_nc.jobs.runner import Orders
from openeo_nc.jobs.starting import Child, end, starter
from openeo_nc.jobs.sweep import sweep

if TYPE_CHECKING:
    from openeo_nc.cluster import Certificates
    from openeo_nc.cubes.places import Place
    from openeo_nc.jobs.claims import Claim
    from openeo_nc.jobs.database import Database

logger = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0
_SWEEP_OBJECTS_SECONDS = 600.0  # listing is a request a job, and is paid for
_OUTCOMES = {ENDED: "ended", FENCED: "fenced", AGAIN: "again"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many jobs run, and for how long."""

    running: int = 4
    """Jobs that one dispatcher runs at a time."""
    running_per_user: int | None = None
    """Jobs of one user that run at a time, over all dispatchers."""
    job_seconds: float | None = None
    """Seconds that a job may take."""
    max_claims: int = claims.MAX_CLAIMS
    """Attempts at a job."""
    lease: float = claims.LEASE_SECONDS
    """Seconds after which a silent runner has lost its job."""
    beat: float = 1.0
    """Seconds between heartbeats of a runner."""
    poll: float = 0.5
    """Seconds between looks at the queue."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Child:
    claim: Claim
    process: Child


@dataclass(eq=False)
class Dispatcher:
    """A thread that has queued jobs run, from `start` to `stop`."""

    db: Database
    """The database of jobs."""
    limits: Limits
    """What may run."""
    scheduler_address: str | None
    """Dask scheduler of all jobs; None starts a cluster for each."""
    folder: Place
    """Folder of all results."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that runners get besides this process's."""
    certificates: Certificates | None = None
    """Certificates of connections to the scheduler."""
    command: Sequence[str] | None = None
    """Command of a runner, without job and token; None forks them from one that is prepared."""
    _children: list[_Child] = field(default_factory=list, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _swept: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._starter = starter(self.command, self.environment)

    def start(self) -> None:
        """Begin to run jobs."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, daemon=True, name="dispatcher")
        self._thread.start()

    def stop(self, timeout: float = 20.0) -> None:
        """Start no more jobs, and have those that run released: they go on at the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                logger.warning("The dispatcher waits for database or storage; it is left alone")
        end([child.process for child in self._children], timeout)
        try:
            self._reap()
        except (OpenEONCError, SQLAlchemyError):
            logger.warning("The last runners could not be noted", exc_info=True)
        self._starter.close()

    def running(self) -> int:
        """Runners that this dispatcher has."""
        return len(self._children)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except (OpenEONCError, SQLAlchemyError, OSError):
                logger.warning("The dispatcher cannot use database or storage", exc_info=True)
            self._stopping.wait(self.limits.poll)

    def _turn(self) -> None:
        self._reap()
        self._give_up()
        while self._may_start():
            claim = claims.claim(
                self.db, f"{socket.gethostname()}:{os.getpid()}", lease=self.limits.lease,
                per_user=self.limits.running_per_user, max_claims=self.limits.max_claims,
            )  # fmt: skip
            if claim is None:
                break
            self._spawn(claim)
        every = _SWEEP_SECONDS if isinstance(self.folder, Path) else _SWEEP_OBJECTS_SECONDS
        if time.monotonic() - self._swept > every:
            self._swept = time.monotonic()
            sweep(self.db, self.folder)

    def _may_start(self) -> bool:
        """Whether a claim would be run at once; none is made before."""
        room = len(self._children) < self.limits.running and not self._stopping.is_set()
        return room and self._starter.ready()

    def _spawn(self, claim: Claim) -> None:
        orders = Orders(
            database=self.db.engine.url.render_as_string(hide_password=False),
            folder=str(self.folder),
            scheduler=self.scheduler_address,
            certificates=self.certificates,
            lease=self.limits.lease,
            beat=self.limits.beat,
            job_seconds=self.limits.job_seconds,
            max_claims=self.limits.max_claims,
        )
        try:
            process = self._starter.start(claim, orders)
        except OSError:
            logger.exception("No runner could be started")
            claims.release(
                self.db, claim.job_id, claim.token, after=self.limits.lease, counts=False
            )
            return
        metrics.RUNNERS_STARTED.inc()
        self._children.append(_Child(claim=claim, process=process))

    def _reap(self) -> None:
        """Let go of runners that ended; a job whose runner crashed is claimed again at once."""
        for child in list(self._children):
            status = child.process.poll()
            if status is None:
                continue
            self._children.remove(child)
            job_id, token = child.claim.job_id, child.claim.token
            metrics.RUNNERS_ENDED.labels(_OUTCOMES.get(status, "lost")).inc()
            if status not in (ENDED, FENCED, AGAIN) and claims.release(self.db, job_id, token):
                message = f"The runner of attempt {token} was lost (exit status {status})."
                logger.warning("Job %s: %s", job_id, message)
                logs.add(self.db, job_id, "warning", message)

    def _give_up(self) -> None:
        error = JobLostError(
            f"The job lost its runner, or the cluster, {self.limits.max_claims} times."
        )
        document = {"code": error.code, "message": error.message}
        for job_id in claims.give_up(self.db, document, max_claims=self.limits.max_claims):
            logs.add(self.db, job_id, "error", error.message, code=error.code)
