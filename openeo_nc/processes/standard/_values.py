"""Single values and lazy arrays under one roof, and what no data is in each.

A process sees JSON values (null, numbers, strings, lists) when a graph calls it, and NumPy or Dask
arrays without names of dimensions inside callbacks of cubes. No data is null in JSON; arrays of
floats have NaN for it, and integers and truth values have none. A single NaN is what IEEE 754 says,
a number that is none, and no missing value.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

LABELS = "labels"
"""Dimension of a labelled array, which is a DataArray with this one only."""


def is_array(value: Any) -> bool:
    """Whether a value is a NumPy, Dask or xarray array; single NumPy numbers are none."""
    return isinstance(value, np.ndarray | da.Array | xr.DataArray)


def is_labelled(value: Any) -> bool:
    """Whether a value is an array with labels that openEO's array processes made or take."""
    return isinstance(value, xr.DataArray) and value.dims == (LABELS,)


def is_lazy(value: Any) -> bool:
    """Whether a value is an array that Dask computes later."""
    return isinstance(getattr(value, "data", value), da.Array)


def native(value: Any) -> Any:
    """A single NumPy value as Python's own; other values as they are."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return native(value[()])
    return value


def missing(array: Any) -> Any:
    """Where an array has no data: of its shape, bool, as lazy as it is."""
    kind = array.dtype.kind
    if kind in "fc":
        return np.isnan(array)
    if kind in "mM":
        return np.isnat(array)
    if kind == "O" and isinstance(array, da.Array):
        return da.map_blocks(pd.isnull, array, dtype=bool)
    return pd.isnull(array) if kind == "O" else np.zeros_like(array, dtype=bool)


def can_miss(*values: Any) -> bool:
    """Whether any of some arrays and values could be no data."""
    return any(v is None or (is_array(v) and v.dtype.kind in "fcmMO") for v in values)


def elementwise(function: Callable[..., Any], *values: Any) -> Any:
    """A function of numbers, of single values or of arrays that broadcast; null gives null.

    Arrays may be NumPy's, Dask's or xarray's; what Dask computes later stays so.
    """
    if any(value is None for value in values) and not any(map(is_array, values)):
        return None
    return with_arrays(function, *(np.nan if value is None else value for value in values))


def with_arrays(function: Callable[..., Any], *values: Any) -> Any:
    """The function of values of which any may be an xarray array, dimensions joined by name."""
    if any(isinstance(value, xr.DataArray) for value in values):
        return xr.apply_ufunc(function, *values, dask="allowed", keep_attrs=True)
    with np.errstate(all="ignore"):
        return native(function(*values))


def stacked(data: Sequence[Any], axis: int = 0) -> Any:
    """Arrays and numbers in a list as one array with the list's elements along `axis`."""
    given = [np.nan if value is None else value for value in data]
    broadcast = np.broadcast_shapes(*(np.shape(value) for value in given))
    if any(isinstance(value, da.Array) for value in given):
        template = next(v for v in given if isinstance(v, da.Array) and v.shape == broadcast)
        parts = [_lazily(value, template) for value in given]
        return da.stack(parts, axis=axis)
    return np.stack([np.broadcast_to(value, broadcast) for value in given], axis=axis)


def _lazily(value: Any, template: Any) -> Any:
    if isinstance(value, da.Array):
        return da.broadcast_to(value, template.shape)
    return da.broadcast_to(da.asarray(value), template.shape, chunks=template.chunks)


def elements(data: Any) -> Any:
    """The data of an array process: a list of single values, or an array (lists of arrays too).

    Labelled arrays of one dimension are lists here; their labels are `labels_of`.
    """
    if is_labelled(data):
        return data.values.tolist()
    if isinstance(data, xr.DataArray):
        return data.data
    if isinstance(data, tuple):
        return list(data)
    return data


def holds_arrays(data: Any) -> bool:
    """Whether a list has arrays among its elements, as in a callback that lists bands."""
    return isinstance(data, list) and any(map(is_array, data))


def along(
    function: Callable[[Any, int], Any],
    data: Any,
    axis: int,
    *,
    dtype: Any = None,
    length: int | None = None,
) -> Any:
    """A NumPy function of an array and an axis that needs the whole of it, as lazy as the array.

    The function keeps the number of dimensions; `length` is how long the axis is afterwards, by
    default as before. One Dask task holds all of the axis, and of other axes what a chunk had.
    """
    dtype = data.dtype if dtype is None else np.dtype(dtype)
    if not isinstance(data, da.Array):
        return _quietly(data, function, axis)
    axis %= data.ndim
    whole = data.rechunk({axis: -1})
    chunks = list(whole.chunks)
    chunks[axis] = (data.shape[axis] if length is None else length,)
    meta = np.empty((0,) * data.ndim, dtype)
    return whole.map_blocks(_quietly, function, axis, dtype=dtype, chunks=tuple(chunks), meta=meta)


def _quietly(block: Any, function: Callable[[Any, int], Any], axis: int) -> Any:
    with quiet():
        return function(block, axis)


@contextmanager
def quiet() -> Iterator[None]:
    """Within it NumPy does not warn of arrays that hold nothing but no data: that is usual here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
