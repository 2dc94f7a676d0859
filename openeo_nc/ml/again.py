"""A lazy array with tasks of its own, that wait: its chunks are made anew, one pass at a time.

`dask.graph_manipulation.bind` is meant for this. But it puts tasks into tuples of the old form,
where Dask 2026.8 takes a task that is also elsewhere in the graph for a reference to that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_graph
from dask.highlevelgraph import HighLevelGraph

if TYPE_CHECKING:
    from dask.delayed import Delayed


@dataclass(frozen=True, kw_only=True, eq=False)
class _Held:
    """A task that Dask does not look into."""

    task: GraphNode
    """It."""
    needs: tuple[Any, ...]
    """Keys whose values it takes."""


def again(array: da.Array, done: Delayed, token: str) -> da.Array:
    """The array with a copy of each of its tasks, none of which runs before `done` is there.

    Parameters
    ----------
    token
        Part of the names of the copies.
    """
    graph = convert_legacy_graph(dict(array.__dask_graph__()))
    new = {
        key: _renamed(key, token) for key, task in graph.items() if not isinstance(task, DataNode)
    }
    copies: dict[Any, GraphNode] = {}
    for key, task in graph.items():
        if key not in new:
            copies[key] = task  # values in memory
            copies[_renamed(key, token)] = Alias(_renamed(key, token), key)
        elif task.dependencies & new.keys():
            copies[new[key]] = task.substitute(new, key=new[key])
        else:
            needs = tuple(task.dependencies)
            held = _Held(task=task, needs=needs)
            first = Task(new[key], _run, TaskRef(done.key), held, *map(TaskRef, needs))
            copies[new[key]] = first
    name = _renamed(array.name, token)
    sources: list[Any] = [done]
    layers = HighLevelGraph.from_collections(name, copies, dependencies=sources)
    return da.Array(layers, name, array.chunks, meta=array._meta)


def _renamed(key: Any, token: str) -> Any:
    return (f"{key[0]}-{token}", *key[1:]) if isinstance(key, tuple) else f"{key}-{token}"


def _run(_done: Any, held: _Held, *values: Any) -> Any:
    return held.task(dict(zip(held.needs, values, strict=True)))
