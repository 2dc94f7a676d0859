"""Elements found, counted and chosen in an array, by value or by a callback."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes.standard._labels import labels_of, position, with_labels
from openeo_nc.processes.standard._values import (
    along,
    elements,
    holds_arrays,
    is_array,
    is_lazy,
    missing,
    native,
    stacked,
)
from openeo_nc.processes.standard.comparison import eq, is_nan, is_valid

__all__ = [
    "array_apply",
    "array_contains",
    "array_filter",
    "array_find",
    "array_find_label",
    "count",
    "first",
    "last",
]


def array_contains(data: Any, value: Any, *, axis: int | None = None) -> Any:
    """Whether an element equals the value, as `eq` has it."""
    values = elements(data)
    if is_array(values):
        return native((eq(values, value) == 1).any(axis=axis))
    return array_find(data, value) is not None


def array_find(data: Any, value: Any, reverse: bool = False, *, axis: int | None = None) -> Any:
    """Position of the first or last element that equals the value, as `eq` has it; or no data."""
    values = elements(data)
    if is_array(values):
        return _found(eq(values, value) == 1, reverse, axis)
    places = range(len(values) - 1, -1, -1) if reverse else range(len(values))
    return next((i for i in places if eq(values[i], value) is True), None)


def array_find_label(data: Any, label: Any, *, dim_labels: Any = None) -> int | None:
    """Position of a label, or no data."""
    labels = labels_of(data)
    labels = dim_labels if labels is None else labels
    return None if labels is None else position(labels, label)


def first(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """The first element, no data left out unless asked otherwise."""
    return _end(data, ignore_nodata, axis, last=False)


def last(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """The last element, no data left out unless asked otherwise."""
    return _end(data, ignore_nodata, axis, last=True)


def count(
    data: Any,
    condition: Any = None,
    context: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """How many elements are valid, or all of them (true), or those a condition holds for."""
    values = elements(data)
    if holds_arrays(values):
        values, axis, keepdims = stacked(values), 0, False
    if is_array(values):
        if condition is True:
            counted: Any = np.ones_like(values, dtype=bool)
        else:
            counted = is_valid(values) if condition is None else _holds(condition, values, context)
        return native(counted.sum(axis=axis, keepdims=keepdims))
    if condition is True:
        return len(values)
    if condition is None:
        return sum(is_valid(value) for value in values)
    return sum(bool(_holds(condition, value, context)) for value in values)


def array_apply(
    data: Any, process: Callable[..., Any], context: Any = None, *, axis: int | None = None,
    dim_labels: Any = None,
) -> Any:  # fmt: skip
    """What a process makes of each element; labels are kept."""
    values = elements(data)
    if is_array(values):
        labels = dim_labels if dim_labels is not None and axis is not None else None
        return _of_all(process, values, context, 0 if axis is None else axis, labels)
    applied = _of_each(process, data, context)
    labels = labels_of(data)
    return applied if labels is None else with_labels(applied, labels)


def array_filter(
    data: Any,
    condition: Callable[..., Any],
    context: Any = None,
    *,
    axis: int | None = None,
    dim_labels: Any = None,
) -> Any:
    """The elements that a condition holds for, with their labels.

    Raises
    ------
    InvalidParameterError
        The array is a cube's, and the condition asks for its values: as many elements would have
        to be left out for each pixel.
    """
    values = elements(data)
    if is_array(values) and values.ndim > 1:
        n = 0 if axis is None else axis
        kept = _of_all(condition, values, context, n, dim_labels)
        if is_lazy(kept) or prod(np.shape(kept)) != values.shape[n]:
            raise InvalidParameterError(
                "array_filter of a cube takes conditions on labels and indices, not on values."
            )
        return np.take(values, np.flatnonzero(_true(kept)), axis=n)
    kept = [i for i, k in enumerate(_of_each(condition, data, context)) if bool(_true(k))]
    labels = labels_of(data)
    chosen = [values[i] for i in kept]
    return chosen if labels is None else with_labels(chosen, [labels[i] for i in kept])


def _of_each(process: Callable[..., Any], data: Any, context: Any) -> list[Any]:
    labels = labels_of(data)
    return [
        native(_called(process, value, i, None if labels is None else labels[i], context))
        for i, value in enumerate(elements(data))
    ]


def _of_all(process: Callable[..., Any], values: Any, context: Any, axis: int, labels: Any) -> Any:
    """The process of a whole array, its indices and labels lying along the axis."""
    shape = [1] * values.ndim
    shape[axis] = values.shape[axis]
    index = np.arange(values.shape[axis]).reshape(shape)
    label = None if labels is None else np.asarray(labels).reshape(shape)
    return _called(process, values, index, label, context)


def _holds(condition: Callable[..., Any], value: Any, context: Any) -> Any:
    return _true(_called(condition, value, None, None, context))


def _called(process: Callable[..., Any], x: Any, index: Any, label: Any, context: Any) -> Any:
    named = {"index": index, "label": label, "context": context}
    return process(x, positional_parameters={"x": 0}, named_parameters=named)


def _true(truth: Any) -> Any:
    """Where it is true: neither false nor no data."""
    if is_array(truth):
        return (truth != 0) & ~missing(truth)
    return truth is not None and not is_nan(truth) and bool(truth)


def _found(where: Any, reverse: bool, axis: int | None) -> Any:
    """Position along the axis of the first or last that is true, NaN where none is."""
    if axis is None:
        where, axis = where.ravel(), 0
    length = where.shape[axis]

    def find(block: Any, n: int) -> Any:
        at = (np.flip(block, n) if reverse else block).argmax(axis=n, keepdims=True)
        at = length - 1 - at if reverse else at
        return np.where(block.any(axis=n, keepdims=True), at, np.nan)

    found = np.take(along(find, where, axis, dtype=float, length=1), 0, axis=axis)
    if found.ndim or is_lazy(found):
        return found
    return None if np.isnan(found) else int(found)


def _end(data: Any, ignore_nodata: bool, axis: int | None, *, last: bool) -> Any:
    values = elements(data)
    if holds_arrays(values):
        values, axis = stacked(values), 0
    if not is_array(values):
        known = [v for v in values if v is not None] if ignore_nodata else values
        return (known[-1] if last else known[0]) if known else None
    if values.size == 0:
        return None
    if axis is None:
        values, axis = values.ravel(), 0
    if not ignore_nodata:
        return native(np.take(values, values.shape[axis] - 1 if last else 0, axis=axis))

    def end(block: Any, n: int) -> Any:
        known = ~missing(block)
        at = np.flip(known, n).argmax(axis=n) if last else known.argmax(axis=n)
        at = block.shape[n] - 1 - at if last else at
        return np.take_along_axis(block, np.expand_dims(at, n), n)

    return native(np.take(along(end, values, axis, length=1), 0, axis=axis))
