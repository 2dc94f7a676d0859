"""Runs one process graph for a request, in a process of its own that ends with the request.

A process can be stopped whatever it is doing, and takes what a graph leaves in memory with it. It is
forked from a server of processes (`multiprocessing`'s forkserver) that has imported what graphs
need, so that starting one takes no time; the Dask tasks of a process that is gone are forgotten by
the scheduler.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import signal
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openeo_nc.cluster import Certificates
from openeo_nc.cubes.tile_store import Spec
from openeo_nc.errors import (
    OpenEONCError,
    PoisonTaskError,
    ProcessFailedError,
    RequestTimeoutError,
    SyncBusyError,
    SyncLostError,
)
from openeo_nc.graphs.served import Serving, served_registry
from openeo_nc.jobs.faults import fault_of
from openeo_nc.jobs.poison import place

if TYPE_CHECKING:
    from openeo_nc.cubes.plan import Plan

_PRELOAD = ["distributed", "openeo_nc.server.evaluation", "openeo_nc.graphs.warm"]
_GRACE = 5
"""Seconds after which a process that outlived its server ends by itself."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a process is told."""

    process: Mapping[str, Any]
    """Object with `process_graph`, perhaps with `parameters`."""
    user_processes: Mapping[str, Any] = field(default_factory=dict)
    """The user's own processes that it uses, by id."""
    folder: Path
    """New folder for what it saves."""
    scheduler: str
    """Address of the Dask scheduler."""
    certificates: Certificates | None = None
    """Certificates of connections to it."""
    catalogues: tuple[str, ...]
    """Catalogues of load_collection."""
    tiles: Spec | None = None
    """Tile store of what it encodes."""
    seconds: float
    """Time that it may take."""
    serving: Serving = field(default_factory=Serving)
    """What it may do."""
    user: str | None = None
    """Id of the user."""
    estimate: bool = False
    """Whether only the plan is wanted, and nothing is to be computed."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of it: files, or a value if nothing was saved."""

    paths: tuple[Path, ...] = ()
    """Files, and folders of stores."""
    value: Any = None
    """As JSON has it."""
    plan: Plan | None = None
    """The plan, if that was wanted."""
    threads: int = 0
    """Threads of the cluster that it was made for."""


class ElsewhereError(Exception):
    """The traceback of an error in the process that raised it; pickled errors have none."""

    def __str__(self) -> str:
        return f"in the process of the request:\n{self.args[0]}"


class Evaluation:
    """Evaluates requests, so many at once and as many more waiting."""

    def __init__(self, at_once: int) -> None:
        forked = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forked else "spawn")
        self._context.set_forkserver_preload(_PRELOAD)
        self._running = threading.Semaphore(at_once)
        self._admitted = threading.Semaphore(2 * at_once)
        if forked:
            multiprocessing.forkserver.ensure_running()

    def run(self, request: Request) -> Reply:
        """What a graph gives; waits for it.

        Raises
        ------
        SyncBusyError, RequestTimeoutError, SyncLostError
        OpenEONCError
            From the graph or its processes.
        """
        if not self._admitted.acquire(blocking=False):
            raise SyncBusyError("Too many results are being computed; use a batch job, or wait.")
        try:
            if not self._running.acquire(timeout=request.seconds):
                raise SyncBusyError("Other results took all the time; use a batch job.")
            try:
                return self._run(request)
            finally:
                self._running.release()
        finally:
            self._admitted.release()

    def _run(self, request: Request) -> Reply:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_evaluate, args=(request, theirs))  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        try:
            if not ours.poll(request.seconds):
                raise RequestTimeoutError(
                    f"The result took longer than {request.seconds:g} s; use a batch job."
                )
            reply: Reply | OpenEONCError
            reply, told = ours.recv()
        except EOFError as error:
            raise SyncLostError(
                "The process that computed the result ended; it may have run out of memory."
            ) from error
        finally:
            process.kill()
            process.join()
            process.close()
            ours.close()
        if isinstance(reply, OpenEONCError):
            raise reply from ElsewhereError(told)
        return reply


def _evaluate(request: Request, connection: Connection) -> None:
    """What runs in the process: sends a `Reply`, or an error of this package and its traceback."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(request.seconds) + _GRACE)
    reply: Reply | OpenEONCError
    told = ""
    try:
        reply = evaluate(request)
    except Exception as error:  # noqa: BLE001  the process ends here; whoever asked is told
        reply = _error_of(error)
        told = traceback.format_exc()
    connection.send((reply, told))
    connection.close()


def _error_of(error: Exception) -> OpenEONCError:
    """An exception of a run as one of ours."""
    from distributed import KilledWorker

    if isinstance(error, OpenEONCError):
        return error
    if isinstance(error, KilledWorker):  # which task it was, only a job takes the time to find out
        return PoisonTaskError(
            f"Workers ended, one after the other; the last of them held {place(error.task)}."
        )
    failed, fault = ProcessFailedError.of(error), fault_of(error)
    if fault.code != "Internal":
        failed.code, failed.message = fault.code, fault.message
    return failed


def evaluate(request: Request) -> Reply:
    """Run a request in this process."""
    from openeo_nc.cluster import connect
    from openeo_nc.cubes import stac, tile_store
    from openeo_nc.cubes.outputs import output_folder
    from openeo_nc.cubes.plan import check, plan_outputs
    from openeo_nc.graphs import execute
    from openeo_nc.graphs.plan import planned
    from openeo_nc.jobs.planning import limits
    from openeo_nc.server.answers import answer

    stac.configure(request.catalogues)
    with (
        connect(request.scheduler, certificates=request.certificates) as client,
        request.serving.running(client, str(uuid4()), request.user),
        tile_store.used(request.tiles),
        output_folder(request.folder) as outputs,
    ):
        value = execute(
            request.process,
            registry=served_registry(request.serving),
            user_processes=request.user_processes,
        )
        if request.estimate:
            return Reply(plan=planned(outputs), threads=sum(client.nthreads().values()))
        if not outputs.plans:
            return Reply(value=answer(value))
        check(plan_outputs(outputs), limits(client, request.folder))
    files = [path for one in outputs.saved for path in one.files]
    if len(files) > 1:  # one is what the request gives; of several each needs its description
        files += [path for one in outputs.saved for path in one.documents]
    return Reply(paths=tuple(Path(str(path)) for path in dict.fromkeys(files)))
