"""Keeps a claim alive while its runner works, and tells the runner when to stop.

A runner stops because its job was cancelled, deleted or claimed by another (it is fenced off),
because its time is up, or because it was asked to end. Whatever it is doing then, it has a few
seconds to leave the cluster tidily; after that its process ends, and the scheduler forgets the
tasks of a client that is gone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sqlalchemy.exc import SQLAlchemyError

from openeo_nc.errors import DatabaseBusyError, JobTimeError
from openeo_nc.jobs import claims, logs

if TYPE_CHECKING:
    from openeo_nc.jobs.claims import Claim
    from openeo_nc.jobs.database import Database

logger = logging.getLogger(__name__)

Reason = Literal["fenced", "time", "ended"]
ENDED, FENCED, AGAIN = 0, 3, 4
"""Exit statuses of runners: the job ended; it is another's; it waits for another attempt."""


class Stopped(BaseException):
    """The runner is to stop; processes that catch exceptions do not catch it."""


class Stop:
    """A request to stop, made once and seen by all threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: Reason | None = None

    def set(self, reason: Reason) -> None:
        """Ask for it; the first reason counts."""
        if self.reason is None:
            self.reason = reason
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if it was asked for."""
        if self._event.is_set():
            raise Stopped(self.reason)

    def wait(self, seconds: float) -> None:
        """Sleep, and raise Stopped as soon as it is asked for."""
        self._event.wait(seconds)
        self.check()


@dataclass(kw_only=True)
class Heart:
    """What beats for a claim."""

    db: Database
    """Where the lease is."""
    claim: Claim
    """The claim."""
    lease: float
    """Seconds that a beat keeps the job for."""
    beat: float
    """Seconds between beats."""
    until: float | None
    """Time, as `time.time` has it, when the job is to be stopped."""
    grace: float = 10.0
    """Seconds that a runner which was asked to stop has to do so."""
    stop: Stop = field(default_factory=Stop)
    """How it is told."""
    progress: float | None = None
    """Percent that is done; told to the database with each beat."""

    @contextmanager
    def beating(self) -> Iterator[Stop]:
        """Within it the claim is kept alive."""
        done = threading.Event()
        thread = threading.Thread(target=self._run, args=(done,), daemon=True, name="heart")
        thread.start()
        try:
            yield self.stop
        finally:
            done.set()
            thread.join()

    def _run(self, done: threading.Event) -> None:
        last = time.monotonic()
        while not done.wait(self.beat):
            if self.until is not None and time.time() > self.until:
                self.stop.set("time")
            try:
                if not self._kept():
                    self.stop.set("fenced")
                last = time.monotonic()
            except (DatabaseBusyError, SQLAlchemyError):
                logger.warning("No heartbeat of job %s", self.claim.job_id, exc_info=True)
                if time.monotonic() - last > self.lease:  # somebody else may have it by now
                    self.stop.set("fenced")
            if self.stop.reason is not None and not done.wait(self.grace):
                logger.error("The runner of job %s does not stop; ended", self.claim.job_id)
                os._exit(self._told())

    def _told(self) -> int:
        try:
            return self.concluded()
        except (DatabaseBusyError, SQLAlchemyError):
            logger.warning("The end of job %s is not noted", self.claim.job_id, exc_info=True)
            return FENCED

    def concluded(self) -> int:
        """Tell the database why the runner stops; gives its exit status."""
        job_id, token = self.claim.job_id, self.claim.token
        if self.stop.reason == "time":
            error = JobTimeError("The job took longer than jobs may.")
            document = {"code": error.code, "message": error.message}
            if claims.fail(self.db, job_id, token, document):
                logs.add(self.db, job_id, "error", error.message, code=error.code)
                return ENDED
        # nothing was wrong with the job if somebody wants its runner to end
        if self.stop.reason == "ended" and claims.release(self.db, job_id, token, counts=False):
            return AGAIN
        return FENCED

    def _kept(self) -> bool:
        return claims.heartbeat(
            self.db, self.claim.job_id, self.claim.token, lease=self.lease, progress=self.progress
        )
