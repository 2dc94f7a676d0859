"""On the Dask scheduler: restricts tasks of networks to workers with the device, and feeds these.

Clients of this package bring it along (`placement.prepare`). A scheduler whose clients may not
have imported the package is started with

        dask scheduler --preload openeo_nc.inference.scheduler_plugin
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task, TaskRef
from distributed.diagnostics.plugin import SchedulerPlugin

from openeo_nc.inference.admission import Admission
from openeo_nc.inference.placement import SHARE, OnDevice, Wish, missing

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that tasks wait for a device to come back after the last worker with it has gone."""


class Placement(SchedulerPlugin):
    """Places tasks when their graph comes, and again when the last worker with a device goes."""

    name = "openeo-nc-placement"
    idempotent = True

    def __init__(self) -> None:
        self._admission = Admission()
        self._needless: set[str] = set()
        self._scheduler: Scheduler | None = None

    def update_graph(self, scheduler: Scheduler, *, tasks: Collection[Any], **_: Any) -> None:
        """Restrict the marked ones among new tasks; what the user restricted is left as it is."""
        self._scheduler = scheduler
        placed: dict[str, list[Any]] = {}
        for key in tasks:
            state = scheduler.tasks.get(key)
            if state is None or state.state not in ("released", "waiting"):
                continue
            mark = mark_of(state.run_spec)
            if mark is None or state.resource_restrictions or state.worker_restrictions:
                continue
            wanted = mark.wish
            if mark.needless is not None:
                self._needless.add(mark.needless)
                if any(before.type == mark.needless for before in state.dependencies):
                    continue
            if scheduler.resources.get(wanted.resource):
                state.resource_restrictions = {wanted.resource: SHARE}
                if mark.needless is None:  # others are hardly ever for the device
                    placed.setdefault(wanted.resource, []).append(state)
            elif wanted.demanded:
                state.run_spec = _failing(state, wanted, scheduler)

        for resource, states in placed.items():
            self._admission.enter(scheduler, states, resource)

    def transition(self, key: Any, start: Any, finish: Any, *_: Any, **__: Any) -> None:
        """Have input of other tasks read when a task of a network is done; see what needs none."""
        if self._scheduler is not None:
            self._admission.left(self._scheduler, key, finish)
            if finish == "memory" and self._needless:
                _let_go(self._scheduler.tasks[key], self._needless)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """See in a while whether tasks wait for a device that nobody has any more."""
        scheduler.loop.call_later(PATIENCE, release, scheduler)


def _let_go(done: Any, needless: Collection[str]) -> None:
    """Let tasks run anywhere that run no network, given what one before them gave just now."""
    if done.type not in needless:
        return
    for state in done.dependents:
        if state.resource_restrictions and state.state in ("released", "waiting"):
            mark = mark_of(state.run_spec)
            if mark is not None and mark.needless == done.type:
                state.resource_restrictions = None


def release(scheduler: Scheduler) -> None:
    """Let tasks go on without a device that nobody has any more, or fail if it is demanded."""
    for state, wanted in list(_stranded(scheduler)):
        logger.warning("No worker has %s any more, which %s waits for", wanted.resource, state.key)
        state.resource_restrictions = None
        if wanted.demanded:
            state.run_spec = _failing(state, wanted, scheduler)
        if state.state == "no-worker":
            scheduler.transitions({state.key: "processing"}, f"openeo-nc-placement-{time.time()}")


def _stranded(scheduler: Scheduler) -> Iterator[tuple[Any, Wish]]:
    """Tasks that are to run yet on a device that no worker has."""
    for state in scheduler.tasks.values():
        wanted = wish_of(state.run_spec) if state.resource_restrictions else None
        if wanted is None or scheduler.resources.get(wanted.resource):
            continue
        if state.state in ("released", "waiting", "no-worker"):
            yield state, wanted


def _failing(state: Any, wanted: Wish, scheduler: Scheduler) -> Task:
    """In place of a task that would wait for ever: one that any worker takes, and that says why."""
    return Task(
        state.key, _fail, wanted, len(scheduler.workers), *map(TaskRef, state.run_spec.dependencies)
    )


def wish_of(task: Any) -> Wish | None:
    """What a task wants, if it is marked."""
    mark = mark_of(task)
    return None if mark is None else mark.wish


def mark_of(task: Any) -> OnDevice | None:
    """The mark of a task, or of one that is inside it: fused, or renamed as `store` does."""
    if isinstance(task, OnDevice):
        return task
    if isinstance(task, Task):
        inner = (task.func, *task.args[:2])  # more than these a task of many inputs need not show
    elif isinstance(task, dict):
        inner = tuple(task.values())
    else:
        return None
    return next((found for one in inner if (found := mark_of(one)) is not None), None)


def dask_setup(scheduler: Scheduler) -> None:
    """What `--preload` calls."""
    scheduler.add_plugin(Placement(), idempotent=True)


def _fail(wanted: Wish, workers: int, *_: object) -> None:
    raise missing(wanted, workers)
