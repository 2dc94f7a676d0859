"""Running a model as openeo-processes-dask-ml does: files between steps, and a subprocess.

Its steps, enacted again: the cube is cut into batches along a new dimension, each block is saved as
a file, a subprocess loads the model and predicts one file after the other, and the results are
read back and put together by their coordinates. That package predicts on CUDA only, from
TorchScript; this runs on the CPU, from the workload's own weights.

        python -m openeo_nc.benchmarks.files_way WORKLOAD INPUT OUTPUT
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

if TYPE_CHECKING:
    from openeo_nc.benchmarks.workloads import Workload

Array = npt.NDArray[Any]


def run(workload: Workload, cube: xr.DataArray, folder: Path) -> xr.DataArray:
    """Results `(channels, y, x)` of all tiles of one date, in memory; `folder` takes the files."""
    given, made = folder / "input", folder / "output"
    for each in (given, made):
        each.mkdir(parents=True)
    pickled = folder / "workload.pickle"
    pickled.write_bytes(pickle.dumps(workload))
    side = workload.side
    corners = list(product(range(0, cube.sizes["y"], side), range(0, cube.sizes["x"], side)))
    batches = _batches(cube.isel(t=0, drop=True), corners, side)
    names = batches.data.map_blocks(
        _save, str(given), meta=np.empty(0, "S36"), chunks=(1,), drop_axis=(1, 2, 3)
    )
    # not optimised: that would name the tasks anew, and save every file twice
    saved = names.to_delayed(optimize_graph=False).tolist()
    predicted = delayed(_predict)(str(pickled), str(given), str(made), saved)
    tiles = [delayed(_load)(name, str(made), predicted) for name in saved]
    return _together(compute(*tiles), corners, cube, side)


def _batches(cube: xr.DataArray, corners: Sequence[tuple[int, int]], side: int) -> xr.DataArray:
    """The tiles along a dimension `batch`, one a chunk."""
    parts = [
        cube.isel(y=range(y, y + side), x=range(x, x + side))
        .drop_vars(["y", "x"])
        .expand_dims("batch")
        for y, x in corners
    ]
    return xr.concat(parts, dim="batch").chunk({"batch": 1, "bands": -1, "y": -1, "x": -1})


def _save(block: Array, folder: str) -> Array:
    name = str(uuid4())
    np.save(f"{folder}/{name}.npy", block)
    return np.array([name], "S36")


def _predict(workload: str, given: str, made: str, names: list[Array]) -> bool:
    module = [sys.executable, "-m", "openeo_nc.benchmarks.files_way"]
    subprocess.run([*module, workload, given, made], check=True)
    return True


def _load(name: Array, folder: str, predicted: bool) -> Array:
    tile: Array = np.load(f"{folder}/{name.item().decode()}.npy")
    return tile


def _together(
    tiles: Sequence[Array], corners: Sequence[tuple[int, int]], cube: xr.DataArray, side: int
) -> xr.DataArray:
    """One array of the tiles, by the coordinates of their pixels."""
    parts = []
    for tile, (y, x) in zip(tiles, corners, strict=True):
        step = side // tile.shape[-1]
        coords = {"y": cube.y.values[y : y + side : step], "x": cube.x.values[x : x + side : step]}
        parts.append(xr.DataArray(tile, dims=("embedding", "y", "x"), coords=coords, name="out"))
    combined = xr.combine_by_coords(parts)
    return combined["out"] if isinstance(combined, xr.Dataset) else combined


def main(workload: str, given: str, made: str) -> None:
    """What the subprocess does."""
    work = pickle.loads(Path(workload).read_bytes())
    model = work.open()
    for path in Path(given).glob("*.npy"):
        np.save(Path(made) / path.name, work.apply(model, np.load(path)[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
