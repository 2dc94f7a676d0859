"""Logic of three values: true, false and no data; lazy on arrays.

Arrays of truth values are bool, or numbers where anything but 0 is true and NaN is no data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openeo_nc.processes.standard._values import (
    can_miss,
    elements,
    holds_arrays,
    is_array,
    missing,
    native,
    stacked,
    with_arrays,
)

__all__ = ["all_", "and_", "any_", "if_", "not_", "or_", "xor"]


def and_(x: Any, y: Any) -> Any:
    """True if both are; false if either is false; else no data."""
    return _joined(x, y, decisive=False)


def or_(x: Any, y: Any) -> Any:
    """True if either is; false if both are false; else no data."""
    return _joined(x, y, decisive=True)


def xor(x: Any, y: Any) -> Any:
    """True if exactly one is; no data if either is."""
    if is_array(x) or is_array(y):
        return with_arrays(
            lambda a, b: _three(_is(a, True) != _is(b, True), _unknown(a) | _unknown(b), a, b),
            *_nan_for_none(x, y),
        )
    return None if _unknown(x) or _unknown(y) else bool(x) != bool(y)


def not_(x: Any) -> Any:
    """The opposite; no data of no data."""
    if is_array(x):
        return with_arrays(lambda a: _three(_is(a, False), _unknown(a), a), x)
    return None if _unknown(x) else not x


def if_(value: Any, accept: Any, reject: Any = None) -> Any:
    """`accept` where the value is true, else `reject`: where it is false or no data."""
    if is_array(value):
        chosen = _nan_for_none(accept, reject)
        return with_arrays(lambda c, a, r: np.where(_is(c, True), a, r), value, *chosen)
    return accept if not _unknown(value) and value else reject


def any_(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether at least one is true."""
    return _reduced(data, ignore_nodata, axis, keepdims, decisive=True)


def all_(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all are true."""
    return _reduced(data, ignore_nodata, axis, keepdims, decisive=False)


def _joined(x: Any, y: Any, *, decisive: bool) -> Any:
    """`and` and `or`: one operand of the decisive value decides, whatever the other is."""
    if is_array(x) or is_array(y):

        def joined(a: Any, b: Any) -> Any:
            decided = _is(a, decisive) | _is(b, decisive)
            unknown = ~decided & (_unknown(a) | _unknown(b))
            return _three(decided if decisive else ~decided, unknown, a, b)

        return with_arrays(joined, *_nan_for_none(x, y))
    known = [bool(value) for value in (x, y) if not _unknown(value)]
    if decisive in known:
        return decisive
    return None if len(known) < 2 else not decisive


def _reduced(data: Any, ignore_nodata: bool, axis: Any, keepdims: bool, *, decisive: bool) -> Any:
    values = elements(data)
    if holds_arrays(values):
        values, axis, keepdims = stacked(values), 0, False
    if is_array(values):
        decided = _is(values, decisive).any(axis=axis, keepdims=keepdims)
        result = decided if decisive else ~decided
        if ignore_nodata or not can_miss(values):
            return native(result)
        unknown = missing(values).any(axis=axis, keepdims=keepdims) & ~decided
        return native(_three(result, unknown, values))
    known = [bool(value) for value in values if not _unknown(value)]
    if decisive in known:
        return decisive
    return not decisive if ignore_nodata or len(known) == len(values) else None


def _is(value: Any, truth: bool) -> Any:
    """Where a value is this, and not no data."""
    if not is_array(value):
        return not _unknown(value) and bool(value) == truth
    known_true = (value != 0) & ~missing(value) if value.dtype.kind != "b" else value
    return known_true if truth else ~(known_true | _unknown(value))


def _unknown(value: Any) -> Any:
    """Where a value is no data. A single truth value cannot be NaN, so that NaN is no data too."""
    if is_array(value):
        return missing(value)
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _three(result: Any, unknown: Any, *sources: Any) -> Any:
    """Truth values with NaN where they are unknown; bool if they never can be."""
    if not any(can_miss(s) if is_array(s) else _unknown(s) for s in sources):
        return result
    return np.where(unknown, np.float32(np.nan), result).astype(np.float32)


def _nan_for_none(*values: Any) -> list[Any]:
    return [np.nan if value is None else value for value in values]
