"""Tasks added one by one that become one layer of a Dask graph, in time linear in their number.

`dask.delayed` looks through all tasks before it at every call: a store of 3,645 tiles took 15 s to
plan, one of 14,045 tiles four minutes.

        tasks = TaskLayer([array])                      what its tasks may refer to
        written = tasks.add("write", write, block(array, 0, 0, 0), place=("data/c/0/0/0",))
        tasks.delayed(written)                          any of them, once all are added
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask.array as da
from dask._task_spec import Dict, GraphNode, List, Task, TaskRef
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph


class TaskLayer:
    """A layer that grows until the first of its tasks is asked for."""

    def __init__(self, sources: Sequence[da.Array | Delayed] = ()) -> None:
        self._sources = list[Any](sources)
        self._token = uuid.uuid4().hex
        self._tasks: dict[Any, Task] = {}
        self._graph: HighLevelGraph | None = None

    def add(
        self,
        label: str,
        function: Callable[..., Any],
        *arguments: Any,
        place: tuple[str | int, ...] = (),
    ) -> TaskRef:
        """A task that calls the function; gives what other tasks name it by.

        Parameters
        ----------
        label
            What it does, for dashboards and messages.
        arguments
            Values, what `add` and `block` gave, and lists and mappings of all these.
        place
            Tells tasks of a label apart: `(date, row, column)` of a tile, or a key.
        """
        key = (f"{label}-{self._token}", *place)
        self._tasks[key] = Task(key, function, *map(_argument, arguments))
        return TaskRef(key)

    def delayed(self, task: TaskRef) -> Delayed:
        """A task as Dask computes it; all of a layer share one graph."""
        name = f"tasks-{self._token}"
        if self._graph is None:
            self._graph = HighLevelGraph.from_collections(
                name, self._tasks, dependencies=self._sources
            )
        return Delayed(task.key, self._graph, layer=name)


def block(array: da.Array, *index: int) -> TaskRef:
    """What tasks name a chunk of an array by."""
    return TaskRef((array.name, *index))


def optimised(array: da.Array) -> da.Array:
    """The array with its graph optimised, for tasks that Dask does not optimise arrays behind."""
    graph = array.__dask_optimize__(array.__dask_graph__(), array.__dask_keys__())
    layers = HighLevelGraph.from_collections(array.name, dict(graph), dependencies=())
    return da.Array(layers, array.name, array.chunks, meta=array._meta)


def _argument(value: Any) -> Any:
    """A value with the tasks that are somewhere in it told apart from it."""
    if isinstance(value, GraphNode | TaskRef):
        return value
    if isinstance(value, list | tuple) and _refers(value):
        return List(*map(_argument, value))
    if isinstance(value, Mapping) and _refers(value):
        return Dict({name: _argument(one) for name, one in value.items()})
    return value


def _refers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_refers, value))
    if isinstance(value, Mapping):
        return any(map(_refers, value.values()))
    return isinstance(value, GraphNode | TaskRef)
