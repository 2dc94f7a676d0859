"""Running sums, orders and interpolations: arrays that come of the whole of an array along an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes.standard._labels import labels_of, with_labels
from openeo_nc.processes.standard._values import along, elements, is_array, is_labelled, missing
from openeo_nc.processes.standard.comparison import is_nan

__all__ = [
    "array_interpolate_linear",
    "cummax",
    "cummin",
    "cumproduct",
    "cumsum",
    "order",
    "rearrange",
    "sort",
]


def cumsum(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Running sum; no data where the array has none."""
    return _running(np.add.accumulate, 0, data, ignore_nodata, axis)


def cumproduct(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Running product; no data where the array has none."""
    return _running(np.multiply.accumulate, 1, data, ignore_nodata, axis)


def cummin(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Running minimum; no data where the array has none."""
    return _running(np.minimum.accumulate, np.inf, data, ignore_nodata, axis)


def cummax(data: Any, ignore_nodata: bool = True, *, axis: int | None = None) -> Any:
    """Running maximum; no data where the array has none."""
    return _running(np.maximum.accumulate, -np.inf, data, ignore_nodata, axis)


def _running(
    accumulate: Callable[..., Any], neutral: float, data: Any, ignore_nodata: bool, axis: int | None
) -> Any:
    def run(block: Any, n: int) -> Any:
        if block.dtype.kind not in "fc":
            return accumulate(block, axis=n)
        gone = np.isnan(block)
        filled = np.where(gone, block.dtype.type(neutral), block) if ignore_nodata else block
        return np.where(gone, np.nan, accumulate(filled, axis=n)).astype(block.dtype)

    values = elements(data)
    if is_array(values):
        return along(run, values, 0 if axis is None else axis)
    floats = np.array([np.nan if value is None else value for value in values], float)
    result = run(floats, 0).tolist()
    # after no data that counts there is nothing but no data
    stop = len(values) if ignore_nodata or None not in values else values.index(None)
    return [None if values[i] is None or i >= stop else result[i] for i in range(len(values))]


def order(
    data: Any, asc: bool = True, nodata: bool | None = None, *, axis: int | None = None
) -> Any:
    """Positions of the elements when sorted; no data is left out, or last (true), or first."""
    values = elements(data)
    if is_array(values):
        return along(_ordered(asc, _kept(nodata)), values, _axis(values, axis), dtype=np.int64)
    known = [i for i, value in enumerate(values) if not _no_rank(value)]
    gone = [i for i, value in enumerate(values) if _no_rank(value)]
    # ties keep their order, whichever way the others go
    positions = sorted(known, key=lambda i: values[i], reverse=not asc)
    return _with_gone(positions, gone, nodata)


def sort(
    data: Any, asc: bool = True, nodata: bool | None = None, *, axis: int | None = None
) -> Any:
    """The elements sorted; no data is left out, or last (true), or first."""
    values = elements(data)
    if is_array(values):
        ordered = _ordered(asc, _kept(nodata))
        return along(lambda b, n: np.take_along_axis(b, ordered(b, n), n), values,
                     _axis(values, axis))  # fmt: skip
    known = sorted((value for value in values if not _no_rank(value)), reverse=not asc)
    return _with_gone(known, [value for value in values if _no_rank(value)], nodata)


def rearrange(data: Any, order: Sequence[int], *, axis: int | None = None) -> Any:
    """The elements at given positions, in the order of these.

    Raises
    ------
    InvalidParameterError
        A position is not in the array, or positions are not one list.
    """
    values = elements(data)
    positions = [int(i) for i in np.asarray(order).ravel()]
    length = values.shape[_axis(values, axis)] if is_array(values) else len(values)
    if np.ndim(order) != 1 or any(not 0 <= i < length for i in positions):
        raise InvalidParameterError(
            f"order is a list of positions from 0 to {length - 1}; given {order!r}."
        )
    if is_array(values):
        return np.take(values, positions, axis=_axis(values, axis))
    taken = [values[i] for i in positions]
    labels = labels_of(data)
    return taken if labels is None else with_labels(taken, [labels[i] for i in positions])


def array_interpolate_linear(data: Any, *, axis: int | None = None, dim_labels: Any = None) -> Any:
    """No data between two values filled linearly: by labels that are numbers or times, else by
    position. What lies before the first value and after the last stays no data."""
    values = elements(data)
    labels = labels_of(data) if is_labelled(data) else dim_labels
    if is_array(values):
        n = _axis(values, axis)
        places = _places(labels, values.shape[n])
        floats = np.result_type(values.dtype, np.float32)
        return along(
            lambda block, m: np.apply_along_axis(_filled, m, block.astype(floats), places),
            values,
            n,
            dtype=floats,
        )
    numbers = np.array([np.nan if value is None else value for value in values], float)
    filled = _filled(numbers, _places(labels, len(values))).tolist()
    # a gap that cannot be filled stays what it was, null or NaN
    result = [v if np.isnan(f) else f for v, f in zip(values, filled, strict=True)]
    return with_labels(result, labels_of(data) or []) if is_labelled(data) else result


def _filled(values: Any, places: Any) -> Any:
    known = ~np.isnan(values)
    if known.all() or known.sum() < 2:
        return values
    filled = values.copy()
    filled[~known] = np.interp(places[~known], places[known], values[known], np.nan, np.nan)
    return filled


def _places(labels: Any, length: int) -> Any:
    """Where the elements lie: labels that are numbers or times and ascend, else positions."""
    given = np.asarray([] if labels is None else labels)
    if given.dtype.kind == "U":
        try:
            given = given.astype("datetime64[ns]")
        except ValueError:
            given = given[:0]
    if given.dtype.kind not in "iufM" or len(given) != length:
        return np.arange(length, dtype=float)
    places = given.astype("datetime64[ns]").astype(float) if given.dtype.kind == "M" else given
    return places.astype(float) if (np.diff(places) > 0).all() else np.arange(length, dtype=float)


def _ordered(asc: bool, nodata: bool) -> Callable[[Any, int], Any]:
    """Positions along an axis; NaN last or first."""

    def ordered(block: Any, axis: int) -> Any:
        gone = missing(block)
        ranks = np.argsort(np.argsort(block, axis=axis, kind="stable"), axis=axis)
        ranks = ranks if asc else _mirrored(block, axis)
        ranks = np.where(gone, block.shape[axis] if nodata else -1, ranks)
        return np.argsort(ranks, axis=axis, kind="stable")

    return ordered


def _mirrored(block: Any, axis: int) -> Any:
    """Ranks from the greatest on, ties in their order: those of the array read backwards."""
    back = np.flip(block, axis)
    ranks = np.argsort(np.argsort(back, axis=axis, kind="stable"), axis=axis)
    return block.shape[axis] - 1 - np.flip(ranks, axis)


def _kept(nodata: bool | None) -> bool:
    """Arrays of several dimensions cannot leave elements out: no data goes last."""
    return nodata is not False


def _no_rank(value: Any) -> bool:
    """Whether a value cannot be sorted: no data, and NaN, which is neither less nor greater."""
    return value is None or is_nan(value) is True


def _with_gone(known: list[Any], gone: list[Any], nodata: bool | None) -> list[Any]:
    if nodata is None:
        return known
    return known + gone if nodata else gone + known


def _axis(values: Any, axis: int | None) -> int:
    if axis is None and values.ndim != 1:
        raise InvalidParameterError(
            f"An array of one dimension is needed outside of a callback; given {values.ndim}."
        )
    return 0 if axis is None else axis
