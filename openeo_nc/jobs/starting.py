"""Starts runners, as processes forked from one that is prepared (`nursery`) or by a command.

Either way a runner has a session of its own: what ends its dispatcher does not end it, and Ctrl-C
is the dispatcher's, which stops its runners itself.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from openeo_nc.jobs.claims import Claim
    from openeo_nc.jobs.runner import Orders

logger = logging.getLogger(__name__)

NURSERY = (sys.executable, "-m", "openeo_nc.jobs.nursery")
"""Command of the process that runners are forked from."""
_LOST = -1
"""Exit status of a runner that is gone without anybody having seen how."""


class Child(ABC):
    """A runner that was started."""

    @abstractmethod
    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    @abstractmethod
    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""

    def wait(self, seconds: float) -> bool:
        """Whether it ended within some seconds."""
        last = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > last:
                return False
            time.sleep(0.02)
        return True


class Starter(ABC):
    """Starts runners."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether a runner would start now; asking for it may make it so."""

    @abstractmethod
    def start(self, claim: Claim, orders: Orders) -> Child:
        """A runner of a claimed job; OSError if none can be started."""

    @abstractmethod
    def close(self) -> None:
        """Start no more; runners go on."""


@dataclass(kw_only=True)
class Commands(Starter):
    """Starts each runner by a command, with job and token as arguments and orders as its input."""

    command: Sequence[str]
    """The command."""
    environment: Mapping[str, str]
    """All variables of the runners."""

    def ready(self) -> bool:
        """Always."""
        return True

    def start(self, claim: Claim, orders: Orders) -> Child:
        """As the base says."""
        process = subprocess.Popen(
            [*self.command, claim.job_id, str(claim.token)],
            stdin=subprocess.PIPE,
            env=dict(self.environment),
            text=True,
            start_new_session=True,
        )
        try:
            with cast("IO[str]", process.stdin) as pipe:
                pipe.write(orders.to_json())
        except OSError:  # it is gone already, which `poll` shows
            logger.warning("The runner of job %s took no orders", claim.job_id)
        return _Started(process)

    def close(self) -> None:
        """Nothing."""


class _Started(Child):
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


@dataclass(kw_only=True)
class Nursery(Starter):
    """Has runners forked from a process that has imported all they need."""

    environment: Mapping[str, str]
    """All variables of the runners."""
    command: Sequence[str] = NURSERY
    """Command of that process."""
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _answers: _Answers | None = field(default=None, init=False)

    def ready(self) -> bool:
        """Whether its process has imported everything; it is started where there is none."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=dict(self.environment),
                text=True,
                start_new_session=True,
            )
            self._answers = _Answers(self._process)
        return self._answers is not None and self._answers.ready

    def start(self, claim: Claim, orders: Orders) -> Child:
        """As the base says."""
        if self._process is None or self._answers is None:
            raise OSError("The process that runners are forked from does not run.")
        child = self._answers.expected(claim.job_id, claim.token)
        asked = {"job": claim.job_id, "token": claim.token, "orders": orders.to_json()}
        pipe = cast("IO[str]", self._process.stdin)
        pipe.write(json.dumps(asked) + "\n")
        pipe.flush()
        return child

    def close(self) -> None:
        """End its process."""
        if self._process is not None:
            process, self._process, self._answers = self._process, None, None
            try:
                cast("IO[str]", process.stdin).close()
            except OSError:  # it is gone, with what it had not read
                logger.debug("The process that runners are forked from is gone", exc_info=True)
            if not _Started(process).wait(5):
                process.kill()
                process.wait()


@dataclass(eq=False)
class _Forked(Child):
    """A runner that a nursery forks; the thread that hears the nursery fills in what it hears."""

    answers: _Answers
    pid: int | None = None
    status: int | None = None

    def poll(self) -> int | None:
        """As the base says; of a runner whose nursery is gone only whether it is there is known."""
        if self.status is None and self.answers.over.is_set() and not self._is_there():
            self.status = _LOST
        return self.status

    def signal(self, number: int) -> None:
        """As the base says."""
        if self.pid is not None and self.status is None and self._is_there():
            os.kill(self.pid, number)

    def _is_there(self) -> bool:
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


class _Answers:
    """What a nursery says, heard by a thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.ready = False
        self.over = threading.Event()
        self._asked: dict[tuple[str, int], _Forked] = {}
        self._running: dict[int, _Forked] = {}
        pipe = cast("IO[str]", process.stdout)
        threading.Thread(target=self._hear, args=(pipe,), daemon=True, name="nursery").start()

    def expected(self, job_id: str, token: int) -> _Forked:
        """The runner that will be forked for a claim."""
        child = self._asked[job_id, token] = _Forked(self)
        return child

    def _hear(self, pipe: IO[str]) -> None:
        try:
            with pipe:
                for line in pipe:
                    self._take(line)
        finally:  # or runners that ended would be waited for, and their places taken, for ever
            self.ready = False
            self.over.set()

    def _take(self, line: str) -> None:
        try:
            told = json.loads(line)
            if "ready" in told:
                self.ready = True
            elif "started" in told:
                child = self._asked.pop((told["job"], told["token"]))
                child.pid = told["started"]
                self._running[told["started"]] = child
            elif (ended := self._running.pop(told["ended"], None)) is not None:
                ended.status = told["status"]
        except (ValueError, TypeError, KeyError):
            logger.warning("Runners are not started by lines such as %r", line[:200])


def starter(command: Sequence[str] | None, environment: Mapping[str, str]) -> Starter:
    """What starts runners: by a command if one is given, or where processes cannot fork."""
    everything = {**os.environ, **environment}
    if command is None and hasattr(os, "fork"):
        return Nursery(environment=everything)
    module = (sys.executable, "-m", "openeo_nc.jobs.runner")
    return Commands(command=module if command is None else command, environment=everything)


def end(children: Sequence[Child], seconds: float) -> None:
    """Ask runners to end, and kill those that have not after some seconds."""
    for child in children:
        child.signal(signal.SIGTERM)
    last = time.monotonic() + seconds
    for child in children:
        if not child.wait(max(0.0, last - time.monotonic())):
            child.signal(signal.SIGKILL)
            child.wait(5)
