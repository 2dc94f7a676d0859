"""Comparisons and checks of values: strict about types, null for no data, lazy on arrays.

Truth values of an array that may have no data are floats: 1, 0 and NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from openeo_nc.processes.standard._values import can_miss, is_array, missing, with_arrays

__all__ = [
    "between",
    "eq",
    "gt",
    "gte",
    "is_infinite",
    "is_nan",
    "is_nodata",
    "is_valid",
    "lt",
    "lte",
    "neq",
]


def eq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> Any:
    """Whether x equals y, within `delta` for numbers."""

    def equal(a: Any, b: Any) -> Any:
        if delta is not None and _kind(a) == _kind(b) == "number":
            return abs(a - b) <= delta
        if not case_sensitive and isinstance(a, str) and isinstance(b, str):
            return a.casefold() == b.casefold()
        return a == b

    return _compared(equal, x, y, of_numbers_only=False)


def neq(x: Any, y: Any, delta: float | None = None, case_sensitive: bool = True) -> Any:
    """Whether x does not equal y."""
    return _not(eq(x, y, delta, case_sensitive))


def gt(x: Any, y: Any) -> Any:
    """Whether x is greater than y; false unless both are numbers."""
    return _compared(operator.gt, x, y)


def gte(x: Any, y: Any) -> Any:
    """Whether x is greater than or equal to y; false unless both are numbers."""
    return _compared(operator.ge, x, y)


def lt(x: Any, y: Any) -> Any:
    """Whether x is less than y; false unless both are numbers."""
    return _compared(operator.lt, x, y)


def lte(x: Any, y: Any) -> Any:
    """Whether x is less than or equal to y; false unless both are numbers."""
    return _compared(operator.le, x, y)


def between(x: Any, min: float, max: float, exclude_max: bool = False) -> Any:
    """Whether x lies in [min, max], or [min, max) if max is excluded."""
    upper = operator.lt if exclude_max else operator.le
    if is_array(x):
        return _of_arrays(lambda a: (a >= min) & upper(a, max), x)
    if x is None:
        return None
    return bool(_kind(x) == "number" and x >= min and upper(x, max))


def is_nodata(x: Any) -> Any:
    """Whether x is no data; in an array of floats that is NaN."""
    return with_arrays(missing, x) if is_array(x) else x is None


def is_nan(x: Any) -> Any:
    """Whether x is a number that is none; false for whatever is no number."""
    if is_array(x):
        return with_arrays(lambda a: np.isnan(a) if a.dtype.kind in "fc" else _nowhere(a), x)
    return isinstance(x, float | np.floating) and bool(np.isnan(x))


def is_infinite(x: Any) -> Any:
    """Whether x is infinite; false for whatever is no number."""
    if is_array(x):
        return with_arrays(lambda a: np.isinf(a) if a.dtype.kind in "fc" else _nowhere(a), x)
    return isinstance(x, float | np.floating) and bool(np.isinf(x))


def is_valid(x: Any) -> Any:
    """Whether x is data: a finite number, or anything else that is not no data."""
    if is_array(x):
        return with_arrays(lambda a: np.isfinite(a) if a.dtype.kind in "fc" else ~missing(a), x)
    return x is not None and not is_nan(x) and not is_infinite(x)


def _compared(
    compare: Callable[[Any, Any], Any], x: Any, y: Any, *, of_numbers_only: bool = True
) -> Any:
    if is_array(x) or is_array(y):
        return _of_arrays(lambda a, b: _unless_foreign(compare, a, b), x, y)
    if x is None or y is None:
        return None
    kind = _kind(x)
    if kind != _kind(y) or kind == "other" or (of_numbers_only and kind != "number"):
        return False
    return bool(compare(x, y))


def _of_arrays(compare: Callable[..., Any], *values: Any) -> Any:
    """Truth values of arrays; where either has no data they have none, and are floats."""

    def compared(*given: Any) -> Any:
        if any(value is None for value in given):
            array = next(value for value in given if is_array(value))
            return np.full_like(array, np.nan, dtype=np.float32)
        result = compare(*given)
        masks = [missing(v) for v in given if is_array(v) and can_miss(v)]
        for mask in masks:
            result = np.where(mask, np.float32(np.nan), result)
        return result.astype(np.float32) if masks else result

    return with_arrays(compared, *values)


def _unless_foreign(compare: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """The comparison, or false everywhere if one side is numbers and the other is not."""
    if _foreign(a) == _foreign(b):
        return compare(a, b)
    return _nowhere(a if is_array(a) else b)


def _foreign(value: Any) -> str:
    """The family of types that a value's can be compared with; truth values are numbers here,
    since those of arrays that may have no data are floats."""
    if is_array(value):
        kind = value.dtype.kind
        return "number" if kind in "biuf" else "text" if kind in "OUST" else kind
    if isinstance(value, np.datetime64):
        return "M"
    return "number" if _kind(value) in ("number", "boolean") else "text"


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, int | float | np.integer | np.floating):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _not(truth: Any) -> Any:
    if is_array(truth):
        return with_arrays(lambda a: ~a if a.dtype.kind == "b" else 1 - a, truth)
    return None if truth is None else not truth


def _nowhere(array: Any) -> Any:
    return np.zeros_like(array, dtype=bool)
