"""The openEO process run_udf: code of a user, on a cube or in the callback of a process."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from openeo_nc.errors import InvalidParameterError
from openeo_nc.udf import apply
from openeo_nc.udf.script import Script, script

_BANDS = ("bands", "band", "embedding")


def run_udf(
    data: Any,
    udf: str,
    runtime: str,
    version: str | None = None,
    context: Any = None,
    *,
    axis: int | None = None,
    cube: xr.DataArray | None = None,
) -> Any:
    """The data as a UDF makes it, chunk by chunk; see `udf.apply`.

    Parameters
    ----------
    data
        A cube, or a callback's array.
    udf, runtime, version, context
        As `udf.script` takes them.
    axis
        Axis along which the process around it works.
    cube
        The cube that a callback's array belongs to, in blocks that the process around it wants.

    Raises
    ------
    InvalidParameterError, UDFFailedError, UDFSandboxError
    """
    made = script(udf, runtime, version, context)
    if isinstance(data, xr.DataArray) and cube is None:
        ground = apply.spatial(data)
        return apply.applied(data, made, whole=[str(n) for n in data.dims if n not in ground])
    if not isinstance(data, xr.DataArray | da.Array | np.ndarray):
        raise InvalidParameterError(
            "run_udf takes a data cube, or the array that a process such as apply_dimension gives "
            f"its process; given was {type(data).__name__}."
        )
    if axis is None:
        return _within_shape(data, made, cube)
    return _along(data, made, cube, int(axis))


def _within_shape(data: Any, made: Script, cube: xr.DataArray | None) -> Any:
    """In `apply` and `apply_neighborhood`: nothing may change but values."""
    given = _as_cube(data, cube)
    window = cube is not None and (isinstance(data, xr.DataArray) or data.shape != cube.shape)
    changed = apply.applied(given, made, whole=_bands(given), may_change=(), cuttable=not window)
    if isinstance(data, xr.DataArray):
        return changed
    return changed.data.reshape(data.shape)


def _along(data: Any, made: Script, cube: xr.DataArray | None, axis: int) -> Any:
    """In a process along one dimension, of which one label that is left is none."""
    given = _as_cube(data, cube)
    name = str(given.dims[axis])
    changed = apply.applied(given, made, whole={*_bands(given), name}, may_change=[name])
    if name in changed.dims and changed.sizes[name] == 1:
        changed = changed.isel({name: 0})
    return changed.data


def _as_cube(data: Any, cube: xr.DataArray | None) -> xr.DataArray:
    """A callback's array with the dimensions of the cube that it belongs to, if it is known."""
    values = data.data if isinstance(data, xr.DataArray) else data
    if cube is None:
        return xr.DataArray(values)
    if values.size != cube.size:
        raise InvalidParameterError(
            f"run_udf is given an array of shape {values.shape} in a process of a cube of shape "
            f"{cube.shape}; give it what the process itself is given."
        )
    given = cube.copy(data=da.asarray(values).reshape(cube.shape))
    return given if cube.chunks is None else given.chunk(dict(cube.chunksizes))


def _bands(cube: xr.DataArray) -> list[str]:
    return [str(name) for name in cube.dims if str(name).casefold() in _BANDS]
