"""The process in which code of users runs: `python -I -m openeo_nc.udf.guest ORDERS`.

It forks once. The first process waits for the end of the worker, or of the second, and cleans up; the
second is closed in and answers calls. What it knows of the worker is two pipes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any

from openeo_nc.udf import confine

_POLL_MILLISECONDS = 500


def main(arguments: list[str]) -> int:
    """The command; its status is that of the process which ran the code."""
    orders: dict[str, Any] = json.loads(arguments[0])
    cell = confine.separate(orders["folder"], orders["limits"], orders["first_uid"])
    child = os.fork()
    if child == 0:
        from openeo_nc.udf.inside import inhabit

        inhabit(cell, orders["reading"], orders["writing"])
        os._exit(0)  # nothing that code left behind runs
    os.close(orders["writing"])
    try:
        return _ended(child, orders["reading"])
    finally:
        confine.clear(orders["folder"])


def _ended(child: int, lifeline: int) -> int:
    """Wait for the child, or kill it when the worker has closed its end of the pipe."""
    poll = select.poll()
    poll.register(lifeline, 0)
    pause: int | None = _POLL_MILLISECONDS
    if hasattr(os, "pidfd_open"):
        poll.register(os.pidfd_open(child), select.POLLIN)
        pause = None
    while True:
        for fd, _ in poll.poll(pause):
            if fd == lifeline:
                os.kill(child, signal.SIGKILL)
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
