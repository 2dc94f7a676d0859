"""Measures what running a network through Dask costs over a bare loop over the same tiles.

Ways, each with one worker of one thread, so that ratios are of overhead and not of cores:

- bare loop: read a tile, run the model, in Python;
- map_blocks: the same as a Dask array, the model kept in the process;
- ours, threads and ours, LocalCluster: as processes of this package build it, on Dask's threads in
  this process and on a worker process beside a scheduler;
- naive UDF: map_blocks over chunks of 256 pixels, whose function loads its model each time;
- files: as openeo-processes-dask-ml runs a model (`files_way`), for results that are arrays.

A round runs every way once, so that a busy moment hits all alike. Ratios are of medians. CPU time is
of all processes that a way uses.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import numpy.typing as npt
import zarr
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from openeo_nc.benchmarks import files_way
from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.speed import machine
from openeo_nc.benchmarks.workloads import Workload, cube_of, workloads, write_cube
from openeo_nc.cluster import ENVIRONMENT, worker_environment
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.threads import SHARE
from openeo_nc.inference.threads import VARIABLE as THREADS
from openeo_nc.tables import table as columns

if TYPE_CHECKING:
    from distributed import Client

Array = npt.NDArray[Any]
Report = dict[str, Any]
NAMES = ("encode", "target", "embedding", "encoder")
NAIVE = 256
"""Pixels of a side of the naive UDF's chunks."""


def run(
    names: Sequence[str] | None = None,
    *,
    tiles: int = 4,
    rounds: int = 5,
    folder: Path | None = None,
    given: dict[str, Workload] | None = None,
    progress: bool = True,
) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    names
        Workloads: `encode`, `target`, `embedding`, `encoder`; default all.
    tiles
        Tiles of a side of the cube.
    rounds
        Times that everything is measured.
    folder
        Where cubes and weights are written; default a temporary one.
    given
        Workloads by name instead of those of the package, for tests.

    Raises
    ------
    InvalidParameterError
    """
    with tempfile.TemporaryDirectory() as temporary, single_threads():
        work = folder or Path(temporary)
        wanted = names or NAMES
        known = given or workloads(work, dict.fromkeys(wanted))
        if unknown := [name for name in wanted if name not in known]:
            raise InvalidParameterError(
                f"There is no workload {', '.join(unknown)}; there are {', '.join(known)}."
            )
        rows = [
            row
            for name in wanted
            for row in measure(known[name], work, tiles, rounds, progress=progress)
        ]
    return {
        "machine": machine(),
        "versions": {**versions(), "dask": version("dask")},
        "rounds": rounds,
        "rows": rows,
    }


def measure(
    workload: Workload, folder: Path, tiles: int, rounds: int, *, progress: bool = False
) -> list[Report]:
    """Seconds of a workload by every way."""
    size = tiles * workload.side
    path = write_cube(folder, size, size)
    found: dict[str, list[tuple[float, float]]] = {}
    with local_cluster(1) as client, tqdm(total=rounds, unit="round", disable=not progress) as bar:
        ways = _ways(workload, path, folder, client)
        for way in ways.values():  # models are loaded, code is compiled
            way()
        for _ in range(rounds):
            for name, way in ways.items():
                found.setdefault(name, []).append(_timed(way, client))
            bar.update()
    bare, count = median(wall for wall, _ in found["bare loop"]), tiles**2
    return [
        {
            "workload": workload.name,
            "way": name,
            "tiles": count,
            "side": workload.side,
            "seconds": median(wall for wall, _ in times),
            "cpu_seconds": median(cpu for _, cpu in times),
            "ratio": median(wall for wall, _ in times) / bare,
            "tile_seconds": bare / count,
            "rounds": [wall for wall, _ in times],
        }
        for name, times in found.items()
    ]


def _ways(
    workload: Workload, path: str, folder: Path, client: Client
) -> dict[str, Callable[[], Any]]:
    cube = cube_of(path, workload.side)
    threads = {"scheduler": "threads", "num_workers": 1}
    small = cube_of(path, NAIVE).data
    naive = partial(small.map_blocks, _anew, workload, **_cells(small))
    mapped = partial(cube.data.map_blocks, _kept, workload, **_cells(cube.data))
    ways: dict[str, Callable[[], Any]] = {
        "bare loop": lambda: bare_loop(workload, path),
        "map_blocks": lambda: mapped().compute(**threads),
        "ours, threads": lambda: computed(workload, cube, **threads),
        "ours, LocalCluster": lambda: computed(workload, cube, scheduler=client),
        "naive UDF": lambda: naive().compute(**threads),
    }
    if workload.name in ("embedding", "encoder"):
        ways["files"] = lambda: _through_files(workload, path, folder)
    return ways


def bare_loop(workload: Workload, path: str) -> list[Any]:
    """Results of all tiles, read and run one after the other."""
    pixels, side, model = zarr.open_array(path, mode="r"), workload.side, opened(workload)
    _, _, height, width = pixels.shape
    with SHARE.taken():
        return [
            workload.apply(model, np.asarray(pixels[0, :, y : y + side, x : x + side]))
            for y in range(0, height, side)
            for x in range(0, width, side)
        ]


def computed(workload: Workload, cube: Any, **scheduler: Any) -> Any:
    """What this package makes of a cube; the graph is built anew, as each request builds it."""
    return workload.ours(cube).compute(**scheduler)


_models: dict[Workload, Any] = {}


def opened(workload: Workload) -> Any:
    """The model, once a process."""
    if workload not in _models:
        _models[workload] = workload.open()
    return _models[workload]


def _kept(block: Array, workload: Workload) -> Array:
    return _cell(workload.apply(opened(workload), block[0]))


def _anew(block: Array, workload: Workload) -> Array:
    return _cell(workload.apply(workload.open(), _whole(block[0], workload.side)))


def _whole(tile: Array, side: int) -> Array:
    """A chunk as the model takes it; codecs take any size, the encoder's is the chunk's."""
    return tile[:, :side, :side]


def _cell(value: Any) -> Array:
    cell = np.empty((1, 1, 1, 1), object)
    cell[0, 0, 0, 0] = value
    return cell


def _cells(data: Any) -> dict[str, Any]:
    chunks = tuple((1,) * n for n in data.numblocks)
    return {"dtype": object, "chunks": chunks, "meta": np.empty((0,) * 4, object)}


def _through_files(workload: Workload, path: str, folder: Path) -> Any:
    within = Path(tempfile.mkdtemp(dir=folder))
    try:
        with dask.config.set(scheduler="threads", num_workers=1):
            return files_way.run(workload, cube_of(path, workload.side), within)
    finally:
        shutil.rmtree(within)


def _timed(way: Callable[[], Any], client: Client) -> tuple[float, float]:
    """Seconds by the clock, and of all processes together."""
    before, began = _cpu(client), time.perf_counter()
    way()
    return time.perf_counter() - began, _cpu(client) - before


def _cpu(client: Client) -> float:
    """CPU seconds of this process, of its children that ended, and of the workers."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers: float = sum(client.run(time.process_time).values())
    return time.process_time() + ended.ru_utime + ended.ru_stime + workers


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Worker processes of one thread, as `openeo-nc run` starts them."""
    from distributed import Client, LocalCluster

    with (
        dask.config.set({ENVIRONMENT: worker_environment()}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def single_threads() -> Iterator[None]:
    """Within it, networks and matrix products take one thread, here and in processes started."""
    names = (THREADS, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with threadpool_limits(1):  # NumPy's, which are there already
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


_LEGEND = """\
One worker of one thread each; median of {rounds} interleaved rounds. ratio: wall time over the bare
loop's. faster: how many times faster `ours, threads` is. CPU s: of all processes that took part.
{cpu}, {cores} cores, {system}"""


def table(report: Report) -> str:
    """Seconds and ratios by workload and way."""
    ours = {r["workload"]: r["seconds"] for r in report["rows"] if r["way"] == "ours, threads"}
    rows = [
        (
            r["workload"], r["way"], f"{r['tiles']} x {r['side']}", f"{r['tile_seconds']:.2f}",
            f"{r['seconds']:.2f}", f"{r['cpu_seconds']:.2f}", f"{r['ratio']:.2f}",
            f"{r['seconds'] / ours[r['workload']]:.2f}",
        )
        for r in report["rows"]
    ]  # fmt: skip
    head = ("workload", "way", "tiles", "s/tile", "wall s", "CPU s", "ratio", "faster")
    legend = _LEGEND.format(rounds=report["rounds"], **report["machine"])
    return f"{legend}\n\n{columns(head, rows)}"
