"""Arrays made, joined and changed: lists of single values, labelled or not, and lazy arrays.

Inside callbacks an array is a NumPy or Dask array whose elements lie along `axis`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from openeo_nc.errors import (
    ArrayElementNotAvailableError,
    ArrayElementParameterConflictError,
    ArrayElementParameterMissingError,
    ArrayLabelConflictError,
    ArrayLengthMismatchError,
    ArrayNotLabeledError,
    InvalidParameterError,
    LabelExistsError,
)
from openeo_nc.processes.standard._labels import labels_of, position, with_labels
from openeo_nc.processes.standard._values import (
    elements,
    holds_arrays,
    is_array,
    is_labelled,
    is_lazy,
    stacked,
)

__all__ = [
    "array_append",
    "array_concat",
    "array_create",
    "array_create_labeled",
    "array_element",
    "array_labels",
    "array_modify",
]


def array_create(data: Any = None, repeat: int = 1, *, axis: int | None = None) -> Any:
    """The elements, `repeat` times; a single value is an array of one element."""
    values = elements([] if data is None else data)
    if is_array(values) and values.ndim > 0:
        return np.concatenate([values] * repeat, axis=0 if axis is None else axis)
    values = (values if isinstance(values, list) else [values]) * repeat
    if holds_arrays(values) and axis is not None:
        return stacked(values, axis)
    return values


def array_create_labeled(data: Any, labels: Sequence[Any]) -> Any:
    """The elements with labels.

    Raises
    ------
    ArrayLengthMismatchError
    """
    values, given = elements(data), elements(labels)
    if len(values) != len(given):
        raise ArrayLengthMismatchError(f"There are {len(values)} values and {len(given)} labels.")
    return with_labels(list(values), list(given))


def array_element(
    data: Any,
    index: int | None = None,
    label: Any = None,
    return_nodata: bool = False,
    *,
    axis: int | None = None,
    dim_labels: Any = None,
) -> Any:
    """The element at an index or with a label.

    Raises
    ------
    ArrayElementParameterMissingError, ArrayElementParameterConflictError
        Not exactly one of index and label is given.
    ArrayNotLabeledError
    ArrayElementNotAvailableError
        There is none, and `return_nodata` does not say that no data stands for it.
    """
    if index is None and label is None:
        raise ArrayElementParameterMissingError("Either index or label is to be given.")
    if index is not None and label is not None:
        raise ArrayElementParameterConflictError("Either index or label is given, not both.")
    values = elements(data)
    n = 0 if axis is None else axis
    length = values.shape[n] if is_array(values) else len(values)
    if label is not None:
        labels = labels_of(data) if is_labelled(data) else dim_labels
        if labels is None:
            raise ArrayNotLabeledError(f"The array has no labels; given the label {label!r}.")
        index = position(labels, label)
    if index is not None and 0 <= index < length:
        return np.take(values, index, axis=n) if is_array(values) else values[index]
    if not return_nodata:
        raise ArrayElementNotAvailableError(
            f"The array of {length} elements has none "
            + (f"at index {index}." if label is None else f"with the label {label!r}.")
        )
    return _no_element(values, n) if is_array(values) and values.ndim > 1 else None


def array_append(data: Any, value: Any, label: Any = None, *, axis: int | None = None) -> Any:
    """The array and one element more, with a label if the array has labels.

    Raises
    ------
    ArrayNotLabeledError, LabelExistsError
    """
    values, labels = elements(data), labels_of(data)
    if labels is None:
        if label is not None:
            raise ArrayNotLabeledError(f"The array has no labels; given the label {label!r}.")
        if is_array(values) and values.ndim > 1:
            return array_concat(values, _as_element(value, values, axis), axis=axis)
        return [*values, value]
    new = len(labels) if label is None else label
    if new in labels:
        raise LabelExistsError(f"The array has an element with the label {new!r} already.")
    return with_labels([*values, value], [*labels, new])


def array_concat(array1: Any, array2: Any, *, axis: int | None = None) -> Any:
    """Both arrays' elements; labels are kept if both have some.

    Raises
    ------
    ArrayLabelConflictError
    """
    first, second = elements(array1), elements(array2)
    if _many(first) or _many(second):
        n = 0 if axis is None else axis
        like = first if _many(first) else second
        parts = [a if _many(a) else _from_list(a, like, n) for a in (first, second)]
        return np.concatenate(parts, axis=n)
    labels1, labels2 = labels_of(array1), labels_of(array2)
    joined = [*first, *second]
    if labels1 is None or labels2 is None:
        return joined
    if common := [label for label in labels1 if label in labels2]:
        raise ArrayLabelConflictError(f"Both arrays have the labels {common}.")
    return with_labels(joined, [*labels1, *labels2])


def array_modify(
    data: Any, values: Any, index: int, length: int = 0, *, axis: int | None = None
) -> Any:
    """The array with `length` elements from an index on replaced by others, or more inserted.

    Raises
    ------
    ArrayElementNotAvailableError
        The index is greater than the number of elements.
    ArrayLabelConflictError
    """
    old, new = elements(data), elements(values)
    n = 0 if axis is None else axis
    size = old.shape[n] if is_array(old) else len(old)
    if not 0 <= index <= size:
        raise ArrayElementNotAvailableError(f"The array has {size} elements; given index {index}.")
    end = min(index + length, size)
    if _many(old):
        before = np.take(old, np.arange(index), axis=n)
        after = np.take(old, np.arange(end, size), axis=n)
        middle = new if _many(new) else _from_list(new, old, n)
        return np.concatenate([before, middle, after], axis=n)
    changed = [*old[:index], *new, *old[end:]]
    labels, others = labels_of(data), labels_of(values)
    if labels is None:
        return changed
    kept = [*labels[:index], *labels[end:]]
    added = list(range(index, index + len(new))) if others is None else others
    if common := [label for label in added if label in kept]:
        raise ArrayLabelConflictError(f"Both arrays have the labels {common}.")
    return with_labels(changed, [*labels[:index], *added, *labels[end:]])


def array_labels(data: Any, *, axis: int | None = None, dim_labels: Any = None) -> list[Any]:
    """Labels of the elements, or their positions if they have none."""
    if (labels := labels_of(data)) is not None:
        return labels
    if dim_labels is not None:
        return [_plain(label) for label in dim_labels]
    values = elements(data)
    if not is_array(values):
        return list(range(len(values)))
    if axis is None and values.ndim > 1:
        raise InvalidParameterError(f"The array has {values.ndim} dimensions; it may have one.")
    return list(range(values.shape[axis or 0]))


def _plain(label: Any) -> Any:
    if isinstance(label, np.datetime64):
        return str(np.datetime_as_string(label, unit="s")) + "Z"
    return label.item() if isinstance(label, np.generic) else label


def _many(values: Any) -> bool:
    """Whether the elements are arrays themselves, along an axis of one array."""
    return is_array(values) and values.ndim > 1


def _as_element(value: Any, like: Any, axis: int | None) -> Any:
    n = 0 if axis is None else axis
    shape = like.shape[:n] + like.shape[n + 1 :] if n >= 0 else like.shape[:-1]
    filled = np.broadcast_to(np.nan if value is None else value, shape)
    return np.expand_dims(filled, n)


def _from_list(values: Any, like: Any, axis: int) -> Any:
    """A list as an array of another's shape, along its axis."""
    if not len(values):
        return np.take(like, [], axis=axis)
    return np.concatenate([_as_element(value, like, axis) for value in values], axis=axis)


def _no_element(values: Any, axis: int) -> Any:
    shape = np.take(values, [], axis=axis).sum(axis=axis).shape
    make = da.full if is_lazy(values) else np.full
    return make(shape, np.nan)
