"""A process of windows of a cube, with what lies around them: one Dask task a window and chunk.

Windows tile each named dimension from its first label on; the last ones may be smaller. Each window
is cut out of the cube together with its overlap, no data where that leaves the cube; the process
gives the same shape back, of which the overlap is dropped. Cutting is slicing of Dask arrays, which
reads a chunk once for all windows in it: `map_overlap` would exchange borders between all chunks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from openeo_nc.errors import DataCubePropertiesImmutableError, InvalidParameterError
from openeo_nc.processes.standard._dimensions import named
from openeo_nc.processes.standard._values import stacked

__all__ = ["apply_neighborhood"]

Window = tuple[int, int]
"""First position and the one after the last."""


def apply_neighborhood(
    data: xr.DataArray,
    process: Callable[..., Any],
    size: Sequence[Mapping[str, Any]],
    overlap: Sequence[Mapping[str, Any]] | None = None,
    context: Any = None,
) -> xr.DataArray:
    """The cube with each window replaced by what the process makes of it and its overlap.

    The process gets a cube of the window, or a one-dimensional array if only one dimension has
    more than one label in it.

    Raises
    ------
    DimensionNotAvailableError
    InvalidParameterError
        A size or an overlap is no positive number of pixels, metres or times.
    DataCubePropertiesImmutableError
        The process gave another shape than it was given.
    """
    windows = {str(n): [(0, data.sizes[n])] for n in data.dims}
    for one in size:
        name = named(data, str(one["dimension"]))
        if one.get("value") is not None:
            windows[name] = _windows(data, name, one)
    margins: dict[str, Callable[[Window], Window]] = {str(n): _none for n in data.dims}
    for one in overlap or ():
        name = named(data, str(one["dimension"]))
        if one.get("value") is not None:
            margins[name] = _margin(data, name, one)
    blocks = np.empty([len(windows[str(n)]) for n in data.dims], dtype=object)
    for place in product(*(range(n) for n in blocks.shape)):
        spans = {n: windows[n][i] for n, i in zip(windows, place, strict=True)}
        blocks[place] = _applied(data, process, spans, {n: margins[n](s) for n, s in spans.items()},
                                 context)  # fmt: skip
    return data.copy(data=da.block(blocks.tolist()))


def _applied(
    data: xr.DataArray,
    process: Callable[..., Any],
    spans: Mapping[str, Window],
    around: Mapping[str, Window],
    context: Any,
) -> Any:
    """What the process makes of one window, without the overlap."""
    lengths = {n: data.sizes[n] for n in spans}
    inside = {n: slice(max(a, 0), min(b, lengths[n])) for n, (a, b) in around.items()}
    beyond = {n: (max(-a, 0), max(b - lengths[n], 0)) for n, (a, b) in around.items()}
    cube = data.isel(inside)
    if any(map(any, beyond.values())):
        cube = cube.pad(beyond, constant_values=np.nan)
    many = [str(n) for n in cube.dims if cube.sizes[n] > 1]
    given: Any = cube if len(many) != 1 else cube.data.reshape(-1)
    result = process(
        given,
        positional_parameters={"data": 0},
        named_parameters={"context": context},
        cube=cube.chunk(-1),
    )
    values = stacked(result) if isinstance(result, list) else getattr(result, "data", result)
    if prod(np.shape(values)) != cube.size or (given is cube and np.shape(values) != cube.shape):
        raise DataCubePropertiesImmutableError(
            f"The process was given a neighbourhood of shape {cube.shape} and gave "
            f"{np.shape(values)}; the shape is to stay."
        )
    core = tuple(
        slice(spans[n][0] - around[n][0], spans[n][1] - around[n][0]) for n in map(str, cube.dims)
    )
    return da.asarray(values).reshape(cube.shape)[core]


def _windows(data: xr.DataArray, name: str, given: Mapping[str, Any]) -> list[Window]:
    """Windows along a dimension; those of a duration hold what lies in it."""
    value, length = given["value"], data.sizes[name]
    if isinstance(value, str):
        times = _times(data, name)
        starts = [0]
        end = times[0] + _duration(value)
        for i, time in enumerate(times):
            if time >= end:
                starts.append(i)
                end = time + _duration(value)
    else:
        step = _pixels(data, name, given)
        if step < 1:
            raise InvalidParameterError(f"A neighbourhood has at least one pixel; given {given}.")
        starts = list(range(0, length, step))
    return list(zip(starts, [*starts[1:], length], strict=True))


def _margin(data: xr.DataArray, name: str, given: Mapping[str, Any]) -> Callable[[Window], Window]:
    """How far a window reaches with its overlap."""
    value = given["value"]
    if not isinstance(value, str):
        pixels = _pixels(data, name, given)
        return lambda window: (window[0] - pixels, window[1] + pixels)
    times, reach = _times(data, name), _duration(value)

    def around(window: Window) -> Window:
        first, last = times[window[0]] - reach, times[window[1] - 1] + reach
        return int(times.searchsorted(first)), int(times.searchsorted(last, side="right"))

    return around


def _none(window: Window) -> Window:
    return window


def _pixels(data: xr.DataArray, name: str, given: Mapping[str, Any]) -> int:
    """A size in pixels of a dimension; without a unit it is in units of the labels."""
    value, unit = float(given["value"]), given.get("unit")
    labels = data[name].values
    if unit != "px" and labels.dtype.kind in "iuf" and len(labels) > 1:
        if unit == "m" and not _metric(data):
            raise InvalidParameterError("Metres need a cube whose CRS is in metres.")
        value /= float(np.abs(np.diff(labels)).min())
    if value < 0 or abs(value - round(value)) > 1e-6:
        raise InvalidParameterError(
            f"{dict(given)} is {value:g} pixels of '{name}'; whole pixels are needed."
        )
    return round(value)


def _metric(data: xr.DataArray) -> bool:
    crs = data.rio.crs
    return crs is not None and crs.is_projected and crs.linear_units in ("metre", "meter", "m")


def _times(data: xr.DataArray, name: str) -> pd.DatetimeIndex:
    if data[name].dtype.kind != "M":
        raise InvalidParameterError(f"Durations need a dimension of times; '{name}' is none.")
    times = pd.DatetimeIndex(data[name].values)
    if not times.is_monotonic_increasing:
        raise InvalidParameterError(f"Durations need times in ascending order along '{name}'.")
    return times


_DURATION = re.compile(
    r"P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)


def _duration(text: str) -> pd.DateOffset:
    """An ISO 8601 duration, months and years by the calendar."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidParameterError(f"{text!r} is no duration such as P5D.")
    names = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
    parts = {n: float(v) for n, v in zip(names, found.groups(), strict=True) if v}
    return pd.DateOffset(**{n: v if n == "seconds" else int(v) for n, v in parts.items()})
