"""Runs a script on a cube chunk by chunk: dimensions and labels go in with each chunk and come back.

        cube -> blocks (dimensions that the script needs whole are whole; others as the chunks are)
             -> trial: the script on a few made-up pixels tells dimensions, labels and dtype
             -> one Dask task a block, which calls the worker's sandbox

Building reads no pixels. Dimensions along which blocks are cut must come back as they were.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.base import tokenize
from dask.delayed import delayed

from openeo_nc.cubes.embedding_attributes import OWN
from openeo_nc.errors import UDFFailedError
from openeo_nc.udf import calls, labels
from openeo_nc.udf.script import Script
from openeo_nc.udf.trial import Outcome, outcome

BLOCK_BYTES = 64 << 20
"""Blocks of more bytes are cut along x and y."""
_LARGE_CODE = 64 << 10
"""Code of more bytes is one task's result, not part of each task."""
_SPATIAL = ("x", "y", "lon", "lat", "longitude", "latitude")

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every block's task is told."""

    script: Script
    """Code, context and rules."""
    dims: tuple[str, ...]
    """Dimensions of blocks."""
    cut: tuple[str, ...]
    """Those along which blocks are cut and that have labels, in the order in which they come."""
    whole: str
    """Labels of the others, as JSON."""
    epsg: int | None
    """Code of the CRS."""
    outcome: Outcome
    """What the script gives."""


def spatial(cube: xr.DataArray) -> list[str]:
    """Names of dimensions that lie on the ground."""
    return [str(name) for name in cube.dims if str(name).casefold() in _SPATIAL]


def applied(
    cube: xr.DataArray,
    script: Script,
    *,
    whole: Collection[str],
    may_change: Collection[str] | None = None,
    cuttable: bool = True,
) -> xr.DataArray:
    """The lazy cube that a script makes of a cube.

    Parameters
    ----------
    cube
        Any dimensions, numbers of any dtype.
    script
        What to run.
    whole
        Dimensions of which each block has all labels.
    may_change
        Of these, the dimensions that may come back with other labels or not at all; None is all
        of them, and then the script may also add dimensions.
    cuttable
        Whether large blocks may be cut along x and y.

    Raises
    ------
    UDFFailedError
        The script fails on made-up pixels, or changes a dimension that it may not change.
    UDFSandboxError
        It cannot be run here.
    """
    cube = _blocks(cube, whole, cuttable)
    names = tuple(map(str, cube.dims))
    cut = tuple(name for name in names if name not in whole)
    epsg = _epsg(cube)
    known = {n: labels.to_json(cube[n].values) for n in names if n in cube.coords}
    found = outcome(cube, script, cut=cut, may_change=may_change, epsg=epsg)
    task = Task(
        script=script,
        dims=names,
        cut=tuple(name for name in cut if name in known),
        whole=json.dumps({n: one for n, one in known.items() if n not in cut}),
        epsg=epsg,
        outcome=found,
    )
    values = _lazily(cube, task)
    return xr.DataArray(
        values,
        dims=found.dims,
        coords=_coords(cube, found),
        attrs={
            name: value
            for name, value in cube.attrs.items()
            if not name.startswith("nc:") and name not in OWN
        },
    )


def _blocks(cube: xr.DataArray, whole: Collection[str], cuttable: bool) -> xr.DataArray:
    """The cube in blocks that are whole along some dimensions, and not too large."""
    chunked = cube.chunk() if cube.chunks is None else cube
    chunked = chunked.chunk({name: -1 for name in chunked.dims if name in whole})
    largest = {str(n): max(chunked.chunksizes[n], default=1) for n in chunked.dims}
    ground = [name for name in spatial(chunked) if cuttable and name not in whole]
    smaller = dict(largest)
    while prod(smaller.values()) * chunked.dtype.itemsize > BLOCK_BYTES and any(
        smaller[name] > 1 for name in ground
    ):
        longest = max(ground, key=lambda name: smaller[name])
        smaller[longest] = -(-smaller[longest] // 2)
    return chunked.chunk({n: size for n, size in smaller.items() if size != largest[n]})


def _lazily(cube: xr.DataArray, task: Task) -> da.Array:
    found = task.outcome
    given = {name: name if name in found.kept else f"{name} as given" for name in task.dims}
    pairs: list[Any] = [cube.data, tuple(given[name] for name in task.dims)]
    for name in task.cut:
        pairs += [da.from_array(cube[name].values, chunks=(cube.chunksizes[name],)), (name,)]
    new = {n: size for n, size in zip(found.dims, found.shape, strict=True) if n not in found.kept}
    large = len(task.script.code) > _LARGE_CODE
    values: da.Array = da.blockwise(
        _run,
        found.dims,
        *pairs,
        new_axes=new,
        concatenate=True,
        align_arrays=False,
        dtype=np.dtype(found.dtype),
        meta=np.empty((0,) * len(found.dims), found.dtype),
        name=f"run_udf-{tokenize(cube.data, task)}",
        task=delayed(task, pure=True) if large else task,
    )
    return values


def _run(values: Array, *cut: Array, task: Task) -> Array:
    """One block, on a worker."""
    known: dict[str, Any] = json.loads(task.whole)
    known |= {name: labels.to_json(one) for name, one in zip(task.cut, cut, strict=True)}
    found = task.outcome
    reply, result = calls.call(
        task.script, np.asarray(values), task.dims, known, epsg=task.epsg, order=found.dims
    )
    sizes = dict(zip(task.dims, values.shape, strict=True))
    expected = tuple(
        sizes[name] if name in found.kept else size
        for name, size in zip(found.dims, found.shape, strict=True)
    )
    if reply.get("dims") != list(found.dims) or result.shape != expected:
        raise UDFFailedError(
            f"The UDF gave {_shown(reply.get('dims'), result.shape)} for a chunk, where "
            f"{_shown(found.dims, expected)} was expected after the trial."
        )
    if result.dtype != found.dtype and not np.can_cast(result.dtype, found.dtype, "same_kind"):
        raise UDFFailedError(
            f"The UDF gave {result.dtype} for a chunk and {np.dtype(found.dtype)} in the trial; "
            "let it always give the same, for instance by astype."
        )
    return np.asarray(result, found.dtype)


def _coords(cube: xr.DataArray, found: Outcome) -> dict[Any, Any]:
    """Coordinates of the result: the cube's along what stayed, the script's along the rest."""
    same = {name for name in found.kept if name not in found.labels}
    coords: dict[Any, Any] = {
        name: one for name, one in cube.coords.items() if {*map(str, one.dims)} <= same
    }
    for name, size in zip(found.dims, found.shape, strict=True):
        if name in found.labels:
            coords[name] = (name, labels.from_json(json.loads(found.labels[name])))
        elif name not in found.kept:
            coords[name] = (name, np.arange(size))
    return coords


def _epsg(cube: xr.DataArray) -> int | None:
    crs = cube.rio.crs
    return None if crs is None else crs.to_epsg()


def _shown(dims: Any, shape: tuple[int, ...]) -> str:
    names = dims if isinstance(dims, list | tuple) else ()
    return f"({', '.join(map(str, names))}) of the shape {shape}"
