"""Finds the function in the code of a user, and calls it: the styles of openEO's Python UDFs.

Runs in the sandbox. openEO's own loader gives code the names that it has on other backends.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from openeo.metadata import Band, BandDimension, CubeMetadata, Dimension, TemporalDimension
from openeo.udf.run_code import load_module_from_string
from openeo.udf.udf_data import UdfData
from openeo.udf.xarraydatacube import XarrayDataCube

_CUBE = ("apply_datacube", "apply_hypercube")
_SERIES = "apply_timeseries"
_DATA = ("apply_udf_data", "transform")
_VECTOR = "apply_vectorcube"
_METADATA = "apply_metadata"


class CodeError(Exception):
    """The code is not what is asked of it; the message is for its author."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One chunk, and what is said about it."""

    cube: xr.DataArray
    """The chunk with its dimensions and labels."""
    context: Any
    """What the user gave for the code."""
    epsg: int | None
    """Code of the CRS."""


def run(code: str, call: Call) -> xr.DataArray:
    """What the code makes of a chunk; its own exceptions pass through."""
    module = load_module_from_string(code)
    result = _called(module, call)
    if isinstance(result, UdfData):
        result = _only(result.get_datacube_list())
    if isinstance(result, XarrayDataCube):
        result = result.get_array()
    if isinstance(result, xr.DataArray):
        return result
    if isinstance(result, np.ndarray) and result.shape == call.cube.shape:
        return call.cube.copy(data=result)
    raise CodeError(
        f"The function gave {_named(result)}; it is to give an xarray.DataArray with the names of "
        "its dimensions."
    )


def band_labels(code: str, call: Call) -> list[str] | None:
    """Names of the bands after the code, if it has a function that says so."""
    function = load_module_from_string(code).get(_METADATA)
    if not callable(function):
        return None
    changed = _with_context(function, _metadata(call.cube), call.context)
    if not isinstance(changed, CubeMetadata):
        raise CodeError(f"{_METADATA} gave {_named(changed)}; it is to give the metadata.")
    return list(changed.band_names) if changed.has_band_dimension() else None


def _called(module: Mapping[str, Any], call: Call) -> Any:
    for name in _CUBE:
        if callable(function := module.get(name)):
            return _with_context(function, _as_wanted(function, call.cube), call.context)
    if callable(function := module.get(_SERIES)):
        return _series(function, call)
    data = UdfData(
        proj={} if call.epsg is None else {"EPSG": call.epsg},
        datacube_list=[XarrayDataCube(call.cube)],
        user_context=call.context if isinstance(call.context, dict) else {},
    )
    for name, function in module.items():
        if inspect.isfunction(function) and (name in _DATA or _takes_data(function)):
            result = function(data)
            return data if result is None else result
    if callable(module.get(_VECTOR)):
        raise CodeError(f"{_VECTOR} is not run here: there are no vector cubes.")
    raise CodeError(f"The code has none of the functions {', '.join((*_CUBE, _SERIES, _DATA[0]))}.")


def _with_context(function: Callable[..., Any], first: Any, context: Any) -> Any:
    parameters = inspect.signature(function).parameters
    if "context" in parameters:
        return function(first, context=context)
    return function(first, context) if len(parameters) > 1 else function(first)


def _as_wanted(function: Callable[..., Any], cube: xr.DataArray) -> Any:
    """A DataArray, or the class around it that older code asks for."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    wanted = "" if first is None else _annotation(first.annotation)
    return XarrayDataCube(cube) if wanted.endswith("DataCube") else cube


def _takes_data(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    return len(parameters) == 1 and _annotation(parameters[0].annotation).endswith("UdfData")


def _annotation(given: Any) -> str:
    return given if isinstance(given, str) else str(getattr(given, "__name__", given))


def _series(function: Callable[..., Any], call: Call) -> xr.DataArray:
    """Each pixel's values over time, changed one after the other."""
    times = [n for n in call.cube.dims if n in ("t", "time") or call.cube[n].dtype.kind == "M"]
    if len(times) != 1:
        raise CodeError(f"{_SERIES} needs one dimension of times; there are {call.cube.dims}.")
    moved = call.cube.transpose(..., times[0])
    index = pd.Index(call.cube[times[0]].values)
    rows = moved.values.reshape(-1, len(index))
    changed = [
        np.asarray(_with_context(function, pd.Series(row, index=index), call.context))
        for row in rows
    ]
    if any(one.shape != (len(index),) for one in changed):
        raise CodeError(f"{_SERIES} is to give as many values as it was given.")
    values = np.stack(changed).reshape(moved.shape) if changed else moved.values
    return moved.copy(data=values).transpose(*call.cube.dims)


def _metadata(cube: xr.DataArray) -> CubeMetadata:
    dimensions: list[Dimension] = []
    for name in map(str, cube.dims):
        labels = cube[name].values if name in cube.coords else np.arange(cube.sizes[name])
        if labels.dtype.kind == "M":
            extent = [str(labels.min()), str(labels.max())] if len(labels) else []
            dimensions.append(TemporalDimension(name=name, extent=extent))
        elif labels.dtype.kind in "UO":
            dimensions.append(BandDimension(name=name, bands=[Band(str(one)) for one in labels]))
        else:
            dimensions.append(Dimension(name=name, type="spatial"))
    return CubeMetadata(dimensions=dimensions)


def _only(cubes: Any) -> Any:
    if not cubes or len(cubes) != 1:
        raise CodeError("The function is to leave one cube in its data.")
    return cubes[0]


def _named(value: Any) -> str:
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"an object of the type {type(value).__name__}{shape}"
