"""Measures what a second worker brings, and that memory of a worker does not grow with the area.

Weak scaling: one worker with n tiles over two workers with 2n. Strong: 2n tiles on one worker over
2n on two, halved. Workers are processes of one thread on this machine, beside a scheduler that takes
its part of the same cores. Memory is the highest that either of two workers' processes ever had, after
areas that grow fourfold, over what it had with its model loaded and a tile coded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from tqdm import tqdm

from openeo_nc.benchmarks.overhead import computed, local_cluster, single_threads
from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.benchmarks.speed import machine
from openeo_nc.benchmarks.throughput import peak
from openeo_nc.benchmarks.workloads import Workload, cube_of, workloads, write_cube
from openeo_nc.errors import InvalidParameterError
from openeo_nc.tables import table as columns

if TYPE_CHECKING:
    from distributed import Client

Report = dict[str, Any]
NAMES = ("encode", "target", "encoder")
GROWTH = (1, 4, 16)
"""Areas of the memory's measurement, in parts of the first."""


def run(
    names: Sequence[str] | None = None, *, tiles: int = 8, rounds: int = 5,
    given: dict[str, Workload] | None = None, progress: bool = True,
) -> Report:  # fmt: skip
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    names
        Workloads, as those of `overhead.run`; default `encode`, `target` and `encoder`.
    tiles
        Tiles of one worker.
    rounds
        Times that everything is measured.
    given
        Workloads by name instead of those of the package, for tests.

    Raises
    ------
    InvalidParameterError
    """
    with tempfile.TemporaryDirectory() as temporary, single_threads():
        wanted = names or NAMES
        known = given or workloads(Path(temporary), dict.fromkeys(wanted))
        if unknown := [name for name in wanted if name not in known]:
            raise InvalidParameterError(
                f"There is no workload {', '.join(unknown)}; there are {', '.join(known)}."
            )
        work = [(known[name], Path(temporary)) for name in wanted]
        rows = [measure(*each, tiles, rounds, progress=progress) for each in work]
        memory = [measure_memory(*each, tiles) for each in work]
    return {
        "machine": machine(),
        "versions": {**versions(), "dask": version("dask")},
        "rounds": rounds,
        "tiles": tiles,
        "rows": rows,
        "memory": memory,
    }


def measure(
    workload: Workload, folder: Path, tiles: int, rounds: int, *, progress: bool = False
) -> Report:
    """Seconds of a workload on one and two workers, and what follows from them."""
    few = cube_of(write_cube(folder, workload.side, tiles * workload.side), workload.side)
    many = cube_of(write_cube(folder, workload.side, 2 * tiles * workload.side), workload.side)
    found: dict[str, list[float]] = {"1 worker, n": [], "1 worker, 2n": [], "2 workers, 2n": []}
    with local_cluster(1) as one, local_cluster(2) as two:
        cases = dict(zip(found, [(one, few), (one, many), (two, many)], strict=True))
        for client, cube in cases.values():  # models are loaded
            computed(workload, cube, scheduler=client)
        for _ in tqdm(range(rounds), unit="round", disable=not progress):
            for name, (client, cube) in cases.items():
                began = perf_counter()
                computed(workload, cube, scheduler=client)
                found[name].append(perf_counter() - began)
    seconds = {name: median(times) for name, times in found.items()}
    return {
        "workload": workload.name,
        "tiles": tiles,
        "seconds": seconds,
        "rounds": found,
        "weak": seconds["1 worker, n"] / seconds["2 workers, 2n"],
        "strong": seconds["1 worker, 2n"] / seconds["2 workers, 2n"] / 2,
    }


def measure_memory(workload: Workload, folder: Path, tiles: int) -> Report:
    """Highest memory of any of two workers after areas that grow, in bytes."""
    path = write_cube(folder, workload.side, workload.side)
    tile = cube_of(path, workload.side)
    with local_cluster(2) as client:
        for _ in range(2):  # models are loaded, on both
            computed(workload, _repeated(tile, 4), scheduler=client)
        idle, peaks = _peak(client), {}
        for times in GROWTH:
            # `sum` leaves nothing of results on the worker, as writing them does
            results = workload.ours(_repeated(tile, times * tiles))
            left = da.map_blocks(_nothing, results, dtype=bool, chunks=(1,) * results.ndim)
            left.sum().compute(scheduler=client)
            peaks[times * tiles] = _peak(client)
    return {
        "workload": workload.name,
        "tile_bytes": int(tile.nbytes),
        "idle": idle,
        "peaks": peaks,
        "over": max(peaks.values()) - idle,
    }


def _repeated(tile: xr.DataArray, count: int) -> xr.DataArray:
    """A cube of one tile beside itself, so many times; each is read by a task of its own."""
    x = tile.x.values[0] + 10 * np.arange(count * tile.sizes["x"])
    data = da.concatenate([tile.data] * count, axis=-1)
    coords = {"t": tile.t, "bands": tile.bands, "y": tile.y, "x": x}
    cube = xr.DataArray(data, dims=tile.dims, coords=coords)
    return cube.rio.write_crs(tile.rio.crs).rio.write_transform()  # type: ignore[no-any-return]


def _nothing(block: Any) -> Any:
    return np.zeros((1,) * np.ndim(block), bool)


def _peak(client: Client) -> int:
    return int(max(client.run(peak).values()))


_LEGEND = """\
n = {tiles} tiles; processes of one thread; median of {rounds} interleaved rounds. weak: 1 worker, n over
2 workers, 2n. strong: half of 1 worker, 2n over 2 workers, 2n.
{cpu}, {cores} cores, {system}"""


def table(report: Report) -> str:
    """Seconds and efficiencies, then memory."""
    kinds = list(report["rows"][0]["seconds"])
    rows = [
        (
            r["workload"], *(f"{r['seconds'][kind]:.2f}" for kind in kinds), f"{r['weak']:.2f}",
            f"{r['strong']:.2f}",
        )
        for r in report["rows"]
    ]  # fmt: skip
    areas = [
        (
            m["workload"], f"{m['tile_bytes'] / 1e6:.1f}", f"{m['idle'] / 1e6:.0f}",
            *(f"{peak / 1e6:.0f}" for peak in m["peaks"].values()), f"{m['over'] / 1e6:.0f}",
        )
        for m in report["memory"]
    ]  # fmt: skip
    counts = [f"{count} tiles" for count in report["memory"][0]["peaks"]]
    legend = _LEGEND.format(tiles=report["tiles"], rounds=report["rounds"], **report["machine"])
    first = columns(("workload", *(f"{kind}, s" for kind in kinds), "weak", "strong"), rows)
    head = ("highest memory, MB", "a tile", "with model", *counts, "over model")
    return f"{legend}\n\n{first}\n\n{columns(head, areas)}"
