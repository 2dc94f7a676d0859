"""Keeps readers from running far ahead of a device: what they read would fill their memory.

Workers without the device have nothing else to do than to read, so Dask has them read a whole area
while a slow device works on its first tiles. Here tasks of the device are admitted in order, a few
for each thread that runs them. What only later ones need is held, by the first tasks of it: they want
a resource that no worker has, until one that was admitted is done. First is what takes nothing but
data of the graph, or what others need too, as all that reads a loaded cube takes its table of assets.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dask._task_spec import DataNode

if TYPE_CHECKING:
    from distributed import Scheduler

AHEAD = 2
"""Tasks of a device that are admitted for each thread of its workers: one runs, one has its input."""
HELD = "openeo-nc-held"
"""The resource that tasks want which are held."""
_DONE = ("memory", "erred", "released", "forgotten")


class Admission:
    """Which tasks of a device, of all graphs of a scheduler, may have their input read."""

    def __init__(self) -> None:
        self._admitted: set[Any] = set()
        self._waiting: deque[tuple[Any, list[Any]]] = deque()
        self._room = 0

    def enter(self, scheduler: Scheduler, states: Iterable[Any], resource: str) -> None:
        """Take tasks of a device from a graph that just came; hold what is not yet to be read."""
        devices = scheduler.resources.get(resource, {})
        if all(address in devices for address in scheduler.workers):
            return  # who runs the network reads: Dask lets nobody run ahead of himself
        self._room = AHEAD * sum(scheduler.workers[address].nthreads for address in devices)
        seen: set[Any] = set()
        for state in sorted(states, key=lambda state: state.priority):
            roots = list(_roots(state, seen))
            if not self._waiting and len(self._admitted) < self._room:
                self._admitted.add(state.key)
                continue
            for root in roots:
                root.resource_restrictions = {HELD: 1}
            self._waiting.append((state.key, [root.key for root in roots]))

    def left(self, scheduler: Scheduler, key: Any, state: str) -> None:
        """See whether a task was one of those that others wait for."""
        if state in _DONE and key in self._admitted:
            self._admitted.remove(key)
            scheduler.loop.add_callback(self._admit, scheduler)

    def _admit(self, scheduler: Scheduler) -> None:
        """Let the next ones have their input; called between transitions."""
        free: dict[Any, Any] = {}
        while self._waiting and len(self._admitted) < self._room:
            key, roots = self._waiting.popleft()
            for root in filter(None, map(scheduler.tasks.get, roots)):
                if root.resource_restrictions == {HELD: 1}:
                    root.resource_restrictions = None
                    if root.state == "no-worker":
                        free[root.key] = "processing"
            state = scheduler.tasks.get(key)
            if state is not None and state.state not in _DONE:
                self._admitted.add(key)
        scheduler.transitions(free, f"openeo-nc-admission-{time.time()}")


def _roots(state: Any, seen: set[Any]) -> Iterable[Any]:
    """The first tasks of what a task needs and none before it does; `seen` grows."""
    own: set[Any] = set()
    stack = [state]
    while stack:
        found = stack.pop()
        if found in seen:
            continue
        seen.add(found)
        stack.extend(found.dependencies)
        if found.state in ("released", "waiting") and not _given(found):
            own.add(found)
    for found in own:
        if found.resource_restrictions or found.worker_restrictions:
            continue
        if own.isdisjoint(found.dependencies):
            yield found


def _given(state: Any) -> bool:
    """Whether it is data that came with a graph or from a client, and nothing that is computed."""
    return state.run_spec is None or isinstance(state.run_spec, DataNode)
