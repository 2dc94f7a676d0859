"""The Dask cluster that a command runs on, and a progress bar that follows its scheduler."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from openeo_nc.errors import SchedulerUnreachableError

if TYPE_CHECKING:
    from distributed import Client, Security

_POLL_SECONDS = 0.25
_CONNECT_SECONDS = 10
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
"""Key of Dask's configuration: variables that nannies set before they start a worker."""


def worker_environment() -> dict[str, Any]:
    """Variables that Dask sets for its workers, less the one that makes codecs slow.

    It has glibc return all memory above 64 kB to the system at once, and so fetch and clear it
    anew for every layer of a network: a tile of 12 x 366 x 372 took 0.66 s instead of 0.23.
    """
    import dask
    import distributed  # noqa: F401  brings its defaults

    given = dask.config.get(ENVIRONMENT)
    return {name: value for name, value in given.items() if name != "MALLOC_TRIM_THRESHOLD_"}


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM by which this process, the scheduler and its workers know each other (TLS)."""

    ca: str
    """Certificates of the authority that signed those of all."""
    certificate: str
    """This process's own."""
    key: str
    """The key of that."""

    def security(self) -> Security:
        """What Dask makes of them; connections without TLS are refused."""
        from distributed import Security

        return Security(
            require_encryption=True,
            tls_ca_file=self.ca,
            tls_client_cert=self.certificate,
            tls_client_key=self.key,
        )


@contextmanager
def connect(
    scheduler: str | None = None, *, workers: int | None = None,
    certificates: Certificates | None = None, default: bool = True,
) -> Iterator[Client]:  # fmt: skip
    """A Dask client, and while it lasts the default scheduler of every dask computation.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, e.g. `tcp://host:8786`. None starts a cluster of processes
        on this machine and ends it afterwards.
    workers
        Worker processes of that local cluster, one thread each; default is the number of CPU
        cores, at most four, since every process loads its own codec.
    certificates
        Certificates of connections to a running scheduler, whose address is `tls://host:port` then.
    default
        False leaves the default scheduler of computations as it is.

    Raises
    ------
    SchedulerUnreachableError
        Nothing answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        if scheduler is None:
            stack.enter_context(dask.config.set({ENVIRONMENT: worker_environment()}))
            cluster = LocalCluster(
                n_workers=workers or min(os.cpu_count() or 1, 4),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # any free port
                silence_logs=logging.CRITICAL,  # what fails is raised here, once
            )
            running = stack.enter_context(cluster)
            yield stack.enter_context(Client(running, set_as_default=default))
            return
        try:
            security = None if certificates is None else certificates.security()
            client = Client(
                scheduler, timeout=_CONNECT_SECONDS, security=security, set_as_default=default
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:  # the last two: no TLS
            raise SchedulerUnreachableError(
                f"No Dask scheduler answers at '{scheduler}': {error}"
            ) from error
        yield stack.enter_context(client)


def _counts(dask_scheduler: Any) -> tuple[int, int]:
    """Tasks finished and tasks ever asked for, summed over the scheduler's life."""
    done = total = 0
    for prefix in dask_scheduler.task_prefixes.values():
        done += prefix.state_counts["memory"]
        total += prefix.state_counts["waiting"]
    return done, total


def _follow(client: Client, bar: tqdm[Any], ended: threading.Event) -> None:
    start_done, start_total = client.run_on_scheduler(_counts)
    while True:
        last = ended.wait(_POLL_SECONDS)
        done, total = client.run_on_scheduler(_counts)
        bar.total = total - start_total
        bar.n = min(done - start_done, bar.total)
        bar.refresh()
        if last:
            return


@contextmanager
def progress(client: Client, title: str, *, shown: bool = True) -> Iterator[None]:
    """A bar over the tasks that the cluster runs while the block lasts, if stderr is a terminal."""
    if not shown:
        yield
        return
    ended = threading.Event()
    with tqdm(desc=title, unit="task", dynamic_ncols=True, disable=None) as bar:
        thread = threading.Thread(target=_follow, args=(client, bar, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=5)
