"""Measures what the sandbox costs: run_udf on chunks against the same code called in the worker.

The code is a small network on each pixel (12 bands, 64 hidden, 10 classes), as a land-cover UDF would
be, on one thread as Dask's workers have; a chunk has all dates and bands. Both ways run in this process one chunk after the other, in turns,
and each gives the same numbers, which is checked. Seconds are of one chunk, the median over rounds;
the ratio is the median of the rounds' ratios. Starting the sandbox is not part of it, and told apart.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from openeo_nc.benchmarks.rate_distortion import versions
from openeo_nc.tables import table as columns
from openeo_nc.udf import apply, pool
from openeo_nc.udf.limits import Rules
from openeo_nc.udf.script import Script

GOAL = 1.15
"""Ratio of wall times, for chunks that take at least half a second."""
SIDES = (128, 256, 384)
"""Pixels along a side of a chunk."""
DATES = 6
CHUNKS = 3
BANDS, CLASSES = 12, 10
CODE = """
import numpy as np
import xarray as xr

rng = np.random.default_rng(0)
first = rng.normal(size=(12, 64)).astype("float32") / 4
last = rng.normal(size=(64, 10)).astype("float32") / 8


def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    pixels = np.moveaxis(cube.transpose("t", "bands", "y", "x").values, 1, -1)
    scores = np.tanh(pixels @ first) @ last
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    coords = {"t": cube.t, "y": cube.y, "x": cube.x}
    return xr.DataArray(np.moveaxis(scores, -1, 1), dims=("t", "bands", "y", "x"), coords=coords)
"""
Report = dict[str, Any]
Array = npt.NDArray[Any]


def run(
    sides: Sequence[int] | None = None,
    *,
    dates: int = DATES,
    chunks: int = CHUNKS,
    rounds: int = 5,
    progress: bool = True,
) -> Report:
    """Measure and report; `table` prints the report.

    Parameters
    ----------
    sides
        Pixels along a side of a chunk; default `SIDES`.
    dates
        Dates of a chunk.
    chunks
        Chunks of a cube.
    rounds
        Times that each way is timed.
    progress
        Whether a bar is shown.
    """
    rules = Rules(session=secrets.token_hex(8))
    script = Script(code=CODE, context=json.dumps({}), rules=rules)
    try:
        with dask.config.set(scheduler="synchronous"), threadpool_limits(1):
            rows = [
                _measured(script, side, dates, chunks, rounds)
                for side in tqdm(sides or SIDES, unit="size", disable=None if progress else True)
            ]
    finally:
        pool.end(rules.session)
    return {"goal": GOAL, "rounds": rounds, "rows": rows, "versions": versions()}


def table(report: Report) -> str:
    """A size a line."""
    rows = [
        (
            f"{row['dates']} x 12 x {row['side']} x {row['side']}",
            f"{row['bytes_in'] / 1e6:.1f}",
            f"{row['bytes_out'] / 1e6:.1f}",
            f"{row['direct_seconds']:.3f}",
            f"{row['sandbox_seconds']:.3f}",
            f"{row['ratio']:.3f}",
        )
        for row in report["rows"]
    ]
    head = ("chunk", "MB in", "MB out", "direct, s", "run_udf, s", "ratio")
    start = report["rows"][0]["first_seconds"]
    return (
        f"{columns(head, rows)}\n\nMedian of {report['rounds']} rounds; goal {report['goal']} for "
        f"chunks of 0.5 s or more. The first call, which starts the sandbox: {start:.1f} s."
    )


def _measured(script: Script, side: int, dates: int, chunks: int, rounds: int) -> Report:
    cube = _cube(side, dates, chunks)
    began = time.perf_counter()
    sandboxed = apply.applied(cube, script, whole=("t", "bands"), cuttable=False).data
    first = time.perf_counter() - began
    direct = cube.data.map_blocks(
        _called, _functions()["apply_datacube"], dtype=np.float32,
        chunks=(cube.data.chunks[0], (CLASSES,), *cube.data.chunks[2:]),
        meta=np.empty((0,) * 4, np.float32),
    )  # fmt: skip
    ways = {"direct": direct, "sandbox": sandboxed}
    results = {name: array.compute() for name, array in ways.items()}  # also warms both
    same = bool(np.allclose(results["direct"], results["sandbox"], rtol=1e-5))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            began = time.perf_counter()
            ways[name].compute()
            times[name].append((time.perf_counter() - began) / chunks)
    ratios = [s / d for s, d in zip(times["sandbox"], times["direct"], strict=True)]
    return {
        "side": side,
        "dates": dates,
        "chunks": chunks,
        "bytes_in": cube.nbytes // chunks,
        "bytes_out": sandboxed.nbytes // chunks,
        "same": same,
        "first_seconds": first,
        "direct_seconds": median(times["direct"]),
        "sandbox_seconds": median(times["sandbox"]),
        "ratio": median(ratios),
        "ratios": ratios,
    }


def _cube(side: int, dates: int, chunks: int) -> xr.DataArray:
    """Made-up reflectance `(t, bands, y, x)` float32 in memory, its chunks beside each other."""
    values = np.random.default_rng(side).random((dates, BANDS, side, side * chunks), np.float32)
    coords = {
        "t": np.arange(dates).astype("datetime64[D]").astype("datetime64[ns]"),
        "bands": [f"B{i:02d}" for i in range(BANDS)],
        "y": -10.0 * np.arange(side),
        "x": 10.0 * np.arange(side * chunks),
    }
    data = da.from_array(values, chunks=(dates, BANDS, side, side))
    return xr.DataArray(data, dims=("t", "bands", "y", "x"), coords=coords)


def _functions() -> dict[str, Any]:
    from openeo.udf.run_code import load_module_from_string

    found: dict[str, Any] = load_module_from_string(CODE)
    return found


def _called(values: Array, function: Any) -> Array:
    """The code without a sandbox."""
    sizes = dict(zip(("t", "bands", "y", "x"), values.shape, strict=True))
    coords = {name: np.arange(size) for name, size in sizes.items()}
    result: Array = function(xr.DataArray(values, dims=tuple(sizes), coords=coords), {}).values
    return result
