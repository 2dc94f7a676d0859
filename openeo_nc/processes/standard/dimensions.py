"""Processes along one dimension of a cube, and its labels; cubes stay lazy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from openeo_nc.cubes.scenes import selected
from openeo_nc.errors import (
    BandFilterParameterMissingError,
    DimensionExistsError,
    DimensionMissingError,
    InvalidParameterError,
    LabelExistsError,
    LabelMismatchError,
    LabelNotAvailableError,
    LabelsNotEnumeratedError,
)
from openeo_nc.processes.standard._dimensions import enumerated, named, of_type, without
from openeo_nc.processes.standard._values import is_array, is_labelled, stacked

__all__ = ["apply", "apply_dimension", "filter_bands", "reduce_dimension", "rename_labels"]


def apply(data: xr.DataArray, process: Callable[..., Any], context: Any = None) -> xr.DataArray:
    """The cube with each value replaced by what a process makes of it.

    Raises
    ------
    InvalidParameterError
        The process gave another number of values.
    """
    values = process(
        data.data,
        positional_parameters={"x": 0},
        named_parameters={"context": context},
        cube=data,
    )
    if isinstance(values, xr.DataArray):
        values = values.data
    if np.shape(values) not in (data.shape, ()):
        raise InvalidParameterError(
            f"The process gave {_shape_shown(values)} for a cube of shape {data.shape}; it is to "
            "give one value for each."
        )
    return data.copy(data=everywhere(values, data))


def everywhere(value: Any, data: xr.DataArray) -> Any:
    """A single value, or null, at each place of the cube; arrays as they are."""
    if is_array(value) and value.ndim:
        return value
    number = np.nan if value is None else value
    return np.full_like(data.data, number, dtype=np.result_type(type(number), np.float32))


def reduce_dimension(
    data: xr.DataArray, reducer: Callable[..., Any], dimension: str, context: Any = None
) -> xr.DataArray:
    """The cube without a dimension, its values along it made one by a reducer."""
    axis = data.get_axis_num(named(data, dimension))
    reduced = along_axis(reducer, data, dimension, context)
    expected = data.shape[:axis] + data.shape[axis + 1 :]
    if isinstance(reduced, list) or np.shape(reduced) not in (expected, ()):
        raise InvalidParameterError(
            f"The reducer gave {_shape_shown(reduced)} for each label combination of a cube of "
            f"shape {data.shape}; it is to give one value along '{dimension}'."
        )
    dims = [name for name in data.dims if name != dimension]
    values = spread(reduced, data, axis)
    return xr.DataArray(values, dims=dims, coords=without(data, dimension), attrs=data.attrs)


def apply_dimension(
    data: xr.DataArray,
    process: Callable[..., Any],
    dimension: str,
    target_dimension: str | None = None,
    context: Any = None,
) -> xr.DataArray:
    """The cube with its values along a dimension replaced by others, perhaps more or fewer.

    Raises
    ------
    DimensionExistsError
        The target dimension is another one with more than one label.
    """
    axis = data.get_axis_num(named(data, dimension))
    target = dimension if target_dimension is None else target_dimension
    if target != dimension and target in data.dims:
        if data.sizes[target] != 1:
            raise DimensionExistsError(
                f"The target dimension '{target}' exists and has {data.sizes[target]} labels."
            )
        data = data.squeeze(target, drop=True)
        axis = data.get_axis_num(dimension)
    applied = along_axis(process, data, dimension, context)
    if is_labelled(applied):
        applied = applied.values.tolist()
    if isinstance(applied, list):
        applied = stacked(applied, axis if any(map(np.ndim, applied)) else 0)
    if np.ndim(applied) < data.ndim:  # one value, or one value each along the dimension
        one = np.ndim(applied) == 1 and data.ndim > 1 and not _reduces(applied, data, axis)
        applied = _laid(applied, data, axis) if one else np.expand_dims(
            spread(applied, data, axis), axis)  # fmt: skip
    dims = [target if name == dimension else name for name in data.dims]
    coords: dict[Any, Any] = without(data, dimension)
    if target == dimension and applied.shape[axis] == data.sizes[dimension]:
        coords = dict(data.coords)
    else:
        coords[target] = np.arange(applied.shape[axis])
    return xr.DataArray(applied, dims=dims, coords=coords, attrs=data.attrs)


def rename_labels(
    data: xr.DataArray, dimension: str, target: Sequence[Any], source: Sequence[Any] | None = None
) -> xr.DataArray:
    """The cube with labels of a dimension renamed; by position if no source labels are given.

    Raises
    ------
    LabelsNotEnumeratedError, LabelMismatchError, LabelNotAvailableError, LabelExistsError
    """
    labels = data[named(data, dimension)].values.tolist()
    if source and len(source) != len(target):
        raise LabelMismatchError(f"There are {len(source)} sources and {len(target)} targets.")
    if not source:
        if not enumerated(labels):
            raise LabelsNotEnumeratedError(
                f"The labels of '{dimension}' are {_some(labels)}, not 0, 1, 2; give the source."
            )
        if len(target) > len(labels):
            raise LabelMismatchError(f"There are {len(labels)} labels and {len(target)} targets.")
    old = list(source) if source else labels[: len(target)]
    if absent := [label for label in old if label not in labels]:
        raise LabelNotAvailableError(
            f"'{dimension}' has no labels {_some(absent)}; it has {_some(labels)}."
        )
    new = dict(zip(old, target, strict=True))
    if present := [label for label in target if label in labels and label not in new]:
        raise LabelExistsError(f"'{dimension}' has the labels {_some(present)} already.")
    renamed = [new.get(label, label) for label in labels]
    kinds = {isinstance(label, str) for label in renamed}
    values = np.array(renamed) if len(kinds) < 2 else np.array(renamed, dtype=object)
    return data.assign_coords({dimension: (dimension, values)})


def filter_bands(
    data: xr.DataArray,
    bands: Sequence[str] | None = None,
    wavelengths: Sequence[Sequence[float]] | None = None,
) -> xr.DataArray:
    """The bands of given names, common names or wavelengths (micrometres), in the order given.

    What no band matches is left out, as openEO defines it.

    Raises
    ------
    DimensionMissingError, BandFilterParameterMissingError
    """
    if not bands and not wavelengths:
        raise BandFilterParameterMissingError("Give bands, common names or wavelengths.")
    found = of_type(data, "bands")
    if not found:
        raise DimensionMissingError("The cube has no dimension of bands.")
    positions = list(dict.fromkeys(_bands(data, found[0], bands or [], wavelengths or [])))
    chosen: xr.DataArray = selected(data, data.isel({found[0]: positions}))
    return chosen


def _bands(
    data: xr.DataArray, dim: str, names: Sequence[str], ranges: Sequence[Sequence[float]]
) -> Iterator[int]:
    labels = data[dim].values.tolist()
    common = _along(data, dim, "common_name")
    centres = _along(data, dim, "center_wavelength")
    for name in names:
        if name in labels:
            yield labels.index(name)
        else:
            yield from (i for i, one in enumerate(common) if one == name)
    for low, high in ranges:
        yield from (i for i, one in enumerate(centres) if one is not None and low <= one <= high)


def _along(data: xr.DataArray, dim: str, name: str) -> list[Any]:
    """Values of a coordinate along the bands, as STAC loaders give them; none if there is none."""
    coordinate = data.coords.get(name)
    return (
        coordinate.values.tolist() if coordinate is not None and coordinate.dims == (dim,) else []
    )


def along_axis(
    process: Callable[..., Any], data: xr.DataArray, dimension: str, context: Any
) -> Any:
    """What a callback makes of the cube's array along a dimension."""
    return process(
        data.data,
        positional_parameters={"data": 0},
        named_parameters={"context": context},
        axis=data.get_axis_num(dimension),
        dim_labels=data[dimension].values,
        cube=data,
    )


def spread(value: Any, data: xr.DataArray, axis: int) -> Any:
    """A single value, or null, as an array of the cube's shape without an axis; lazy as the cube."""
    if is_array(value) and value.ndim:
        return value
    template = np.take(data.data, [], axis=axis).sum(axis=axis)
    if value is None:
        return np.full_like(template, np.nan, dtype=np.result_type(data.dtype, np.float32))
    return np.full_like(template, value, dtype=np.result_type(type(value), np.float32))


def _reduces(values: Any, data: xr.DataArray, axis: int) -> bool:
    return bool(values.shape == data.shape[:axis] + data.shape[axis + 1 :])


def _laid(values: Any, data: xr.DataArray, axis: int) -> Any:
    """A list of single values along the axis, the same everywhere else."""
    shape = [1] * data.ndim
    shape[axis] = len(values)
    ones = np.ones_like(np.take(data.data, [0], axis=axis), dtype=np.asarray(values).dtype)
    return np.asarray(values).reshape(shape) * ones


def _shape_shown(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, list) else f"shape {np.shape(value)}"


def _some(labels: Sequence[Any]) -> str:
    shown = ", ".join(repr(label) for label in labels[:8])
    return shown + (" ..." if len(labels) > 8 else "")
