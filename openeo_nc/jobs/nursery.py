"""Forks runners from a process that has imported what they need: `python -m openeo_nc.jobs.nursery`.

It reads a line of JSON for each runner that is to start, `{"job", "token", "orders"}`, and writes
one when it is ready, `{"ready": true}`, one for each that started, `{"started": pid, "token",
"job"}`, and one for each that ended, `{"ended": pid, "status"}`. Orders come this way, and not as
arguments, since they hold the database's password. At the end of its input it ends; runners have a
session of their own and go on. Whatever else is written to standard output goes to standard error:
a stray line would be taken for one of these.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from openeo_nc.graphs import warm  # noqa: F401  what runners need, imported once
from openeo_nc.jobs import runner

_BLOCK = 1 << 16


def serve() -> None:
    """Start runners until nobody may ask for any."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _serve(answers)


def _serve(answers: IO[str]) -> None:
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    _tell(answers, ready=True)
    rest = b""
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, _BLOCK)
            for pid, status in _ended():
                _tell(answers, ended=pid, status=status)
        if sys.stdin.fileno() in ready:
            block = os.read(sys.stdin.fileno(), _BLOCK)
            if not block:
                return
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                _start(answers, json.loads(line))


def _start(answers: IO[str], asked: dict[str, Any]) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(answers.fileno())  # or it would be open for as long as the runner lives
        _run(asked)
    _tell(answers, started=pid, job=asked["job"], token=asked["token"])


def _run(asked: dict[str, Any]) -> None:
    """What the new process does, and nothing after it."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        orders = runner.Orders.from_json(asked["orders"])
        status = runner.run(orders, asked["job"], asked["token"])
    except BaseException:  # noqa: BLE001  it must not return into the loop above
        traceback.print_exc()
    finally:
        logging.shutdown()
        os._exit(status)


def _ended() -> Iterator[tuple[int, int]]:
    """Process ids and exit statuses; a signal's is negative."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _tell(answers: IO[str], **what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    runner.configure_logging()
    with suppress(BrokenPipeError):  # nobody asks any more
        serve()
    os._exit(0)  # tidying up all that was imported takes seconds
