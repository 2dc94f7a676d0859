"""Finds the task that ends the workers it is given to, and has the rest of a job go on without it.

A scheduler knows which tasks a worker held when it ended, not which of them ended it: some that only
waited their turn are suspected as well, and what it forgets when a job fails may be the guilty one.
So suspects are run again, one at a time and in the order of their dependencies; the first that ends
its workers all alone is guilty. If none does, all other tasks of the unfinished objects follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dask._task_spec import GraphNode, Task, convert_legacy_graph
from dask.core import get_dependencies
from dask.highlevelgraph import HighLevelGraph
from dask.order import order

from openeo_nc.cubes.on_error import withheld
from openeo_nc.errors import ClusterLostError

if TYPE_CHECKING:
    from dask.delayed import Delayed
    from distributed import Client, Future

Graph = dict[Any, GraphNode]


def graph_of(collections: Sequence[Delayed]) -> Graph:
    """All tasks that these need, by the keys that the scheduler has them under."""
    merged = HighLevelGraph.merge(*(one.dask for one in collections))
    graph: Graph = convert_legacy_graph(dict(merged))
    return graph


def suspects(client: Client, keys: Sequence[Any]) -> list[Any]:
    """Keys of the tasks that these need and that were on workers which ended, most often so first."""
    found: list[Any] = client.run_on_scheduler(_suspects, keys=list(keys))
    return found


def guilty(
    client: Client, graph: Graph, wanted: Sequence[Any], suspected: Sequence[Any],
    wait: Callable[[float], None],
) -> Any | None:  # fmt: skip
    """Key of the task that ends its workers when it runs alone; None if none of all does.

    Parameters
    ----------
    wanted
        Keys whose tasks did not come to an end.
    suspected
        Keys that are looked at first.
    wait
        Sleeps for some seconds; raises if it is time to stop.

    Raises
    ------
    ClusterLostError
        The scheduler forgot the tasks, which says nothing of any.
    """
    ranks = order(_culled(graph, wanted))
    groups = [[key for key in suspected if key in ranks], *([*_culled(graph, [w])] for w in wanted)]
    for keys in groups:
        found = _first_guilty(client, graph, sorted(keys, key=ranks.__getitem__), wait)
        if found is not None:
            return found
    return None


def _first_guilty(
    client: Client, graph: Graph, keys: Sequence[Any], wait: Callable[[float], None]
) -> Any | None:
    """Run tasks one by one, those of dependencies first; results are held until all have run."""
    held: list[Future[Any]] = []
    try:
        for key in keys:
            (future,) = client.get(_culled(graph, [key]), [key], sync=False)
            held.append(future)
            while not future.done():
                wait(0.05)
            if client.status != "running" or future.status == "cancelled":
                raise ClusterLostError("The cluster forgot the job's tasks.")
            if _ended_workers(future):
                return key
    finally:
        for future in held:
            future.release()
    return None


def given_up(graph: Graph, found: Sequence[Any]) -> list[Any]:
    """What is to give no data after some guilty tasks were found, the last one among them.

    A second one of the same date, and band where it reads, takes all others of these along: each
    costs workers, and a file that ends GDAL does so wherever it is read.
    """
    last = found[-1]
    if not isinstance(last, tuple) or not any(_kin(last, before) for before in found[:-1]):
        return [last]
    return [key for key in graph if isinstance(key, tuple) and _kin(last, key)]


def _kin(key: tuple[Any, ...], other: Any) -> bool:
    """Whether two tasks do the same for parts of one date and band."""
    return isinstance(other, tuple) and len(key) == len(other) > 3 and key[:-2] == other[:-2]


def withhold(graph: Graph, keys: Sequence[Any]) -> Graph:
    """The graph with tasks that give no data instead of what ended their workers; see `on_error`."""
    tasks = {key: task for key in keys if isinstance(task := graph[key], Task)}
    return graph | {
        key: Task(key, withheld, task.func, *task.args, **task.kwargs)
        for key, task in tasks.items()
    }


def place(key: Any) -> str:
    """A task in words: what it does, and to which part of a cube."""
    name, *at = key if isinstance(key, tuple) else (key,)
    task = f"'{str(name).rsplit('-', 1)[0]}'"
    if len(at) == 3:
        return f"{task} of the tile (date {at[0]}, row {at[1]}, column {at[2]})"
    if len(at) == 4:
        return f"{task} of the chunk (date {at[0]}, row {at[2]}, column {at[3]})"
    return task


def _ended_workers(future: Future[Any]) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _culled(graph: Graph, keys: Iterable[Any]) -> Graph:
    found: Graph = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = graph[key]
            waiting += get_dependencies(graph, key)
    return found


def _suspects(dask_scheduler: Any, keys: Sequence[Any]) -> list[Any]:
    waiting = [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    seen = set(waiting)
    while waiting:
        new = waiting.pop().dependencies - seen
        seen |= new
        waiting += new
    held = [task for task in seen if task.suspicious]
    return [task.key for task in sorted(held, key=lambda task: -task.suspicious)]
