"""How many threads a network on the CPU takes: this call's share of the machine's cores.

Dask's nannies start workers with OMP_NUM_THREADS=1, which is right for many workers of one thread,
and leaves cores idle where there are fewer. A worker takes its part of the cores, by how many
workers the scheduler knows on its machine, and shares it between the networks that run in it at a
moment. `OPENEO_NC_THREADS` says the process's part instead.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dask.system import CPU_COUNT

from openeo_nc.errors import InvalidParameterError

logger = logging.getLogger(__name__)

VARIABLE = "OPENEO_NC_THREADS"
"""Environment variable: threads that networks of this process take together."""
_LASTS = 60.0
"""Seconds that the number of workers on a machine is taken to stay the same."""


class Share:
    """The cores that networks of one process may use."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what runs and what is known, as a process that was forked must."""
        self._lock = threading.Lock()
        self._running = 0
        self._asked = -_LASTS
        self._cores: int | None = None

    @contextmanager
    def taken(self) -> Iterator[int]:
        """Within it, torch uses this call's share of the cores in this thread; gives how many."""
        import torch

        before = torch.get_num_threads()
        cores = self.cores(before)
        with self._lock:
            self._running += 1
            threads = max(1, cores // self._running)
        try:
            if threads != before:
                torch.set_num_threads(threads)
            yield threads
        finally:
            with self._lock:
                self._running -= 1
            if threads != before:
                torch.set_num_threads(before)

    def cores(self, usual: int) -> int:
        """Cores of this process; `usual` is what torch takes by itself, right outside of workers."""
        given = os.environ.get(VARIABLE)
        if given is not None:
            if not given.isdecimal() or int(given) < 1:
                raise InvalidParameterError(
                    f"{VARIABLE} must be a number above 0; it is '{given}'."
                )
            return int(given)
        worker = _worker()
        with self._lock:
            known = self._cores is not None and time.monotonic() - self._asked < _LASTS
            if worker is None or known:
                return usual if self._cores is None else self._cores
            self._asked = time.monotonic()
        found = max(1, CPU_COUNT // workers_beside(worker))
        with self._lock:
            self._cores = found
        return found


def workers_beside(worker: Any) -> int:
    """Workers on the machine of a worker, itself included; 1 if the scheduler cannot be asked."""
    from distributed.comm.addressing import get_address_host
    from distributed.utils import sync

    try:
        told = sync(worker.loop, worker.scheduler.identity, n_workers=-1, callback_timeout=5)
    except (OSError, TimeoutError) as error:
        logger.warning("The scheduler does not tell of workers beside this one: %s", error)
        return 1
    host = get_address_host(worker.address)
    hosts = [get_address_host(address) for address in told["workers"]]
    return max(1, hosts.count(host))


def _worker() -> Any:
    """The Dask worker whose task this thread runs, if it does."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker()
    except ValueError:
        return None


SHARE = Share()
"""Of this process."""
