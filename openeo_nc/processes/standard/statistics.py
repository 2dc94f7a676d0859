"""Numbers that sum up an array: over a list of single values, or lazily over axes of an array.

No data is ignored unless asked otherwise. Nothing but no data gives no data, never 0; and NaN
among single values is a number that is none, which no `ignore_nodata` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from openeo_nc.errors import (
    AscendingProbabilitiesRequiredError,
    InvalidParameterError,
    QuantilesParameterConflictError,
    QuantilesParameterMissingError,
)
from openeo_nc.processes.standard._values import (
    along,
    can_miss,
    elements,
    holds_arrays,
    is_array,
    missing,
    native,
    quiet,
    stacked,
)

__all__ = [
    "extrema",
    "max_",
    "mean",
    "median",
    "min_",
    "product",
    "quantiles",
    "sd",
    "sum_",
    "variance",
]


def sum_(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Sum of all values."""
    return _reduced(np.sum, np.nansum, data, ignore_nodata, axis, keepdims, zero_of_none=True)


def product(
    data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False
) -> Any:
    """Product of all values."""
    return _reduced(np.prod, np.nanprod, data, ignore_nodata, axis, keepdims, zero_of_none=True)


def min_(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Least value."""
    return _reduced(np.min, np.nanmin, data, ignore_nodata, axis, keepdims)


def max_(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Greatest value."""
    return _reduced(np.max, np.nanmax, data, ignore_nodata, axis, keepdims)


def mean(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Arithmetic mean."""
    return _reduced(np.mean, np.nanmean, data, ignore_nodata, axis, keepdims)


def median(
    data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False
) -> Any:
    """Value in the middle of the sorted ones, or the mean of the two in the middle."""
    return _reduced(_whole(np.median), _whole(np.nanmedian), data, ignore_nodata, axis,
                    keepdims)  # fmt: skip


def sd(data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Sample standard deviation."""
    return _reduced(_sample(np.std), _sample(np.nanstd), data, ignore_nodata, axis, keepdims)


def variance(
    data: Any, ignore_nodata: bool = True, *, axis: Any = None, keepdims: bool = False
) -> Any:
    """Sample variance."""
    return _reduced(_sample(np.var), _sample(np.nanvar), data, ignore_nodata, axis, keepdims)


def extrema(data: Any, ignore_nodata: bool = True, *, axis: Any = None) -> Any:
    """Least and greatest value; of an array, both along its axis."""
    values = elements(data)
    least, greatest = min_(values, ignore_nodata, axis=axis), max_(values, ignore_nodata, axis=axis)
    if not is_array(values) or axis is None:
        return [least, greatest]
    return stacked([least, greatest], axis)


def quantiles(
    data: Any,
    probabilities: int | Sequence[float] | None = None,
    q: int | None = None,
    ignore_nodata: bool = True,
    *,
    axis: Any = None,
) -> Any:
    """Quantiles by linear interpolation, as long as there are probabilities; along an axis if any.

    Raises
    ------
    QuantilesParameterMissingError, QuantilesParameterConflictError
        Not exactly one of `probabilities` and `q` is given.
    AscendingProbabilitiesRequiredError
    """
    at = _probabilities(probabilities, q)
    values = elements(data)
    if holds_arrays(values):
        values, axis = stacked(values), 0
    if is_array(values):
        of = np.nanquantile if ignore_nodata and can_miss(values) else np.quantile
        lined, line = (values.ravel(), 0) if axis is None else (values, axis)
        floats = np.result_type(values.dtype, np.float32)
        return along(
            lambda block, n: np.moveaxis(of(block, at, axis=n), 0, n).astype(floats),
            lined,
            line,
            dtype=floats,
            length=len(at),
        )
    known = _known(values, ignore_nodata)
    if not known:
        return [None] * len(at)
    with np.errstate(invalid="ignore"):
        return [_between(np.sort(known), p) for p in at]


def _between(ordered: Any, probability: float) -> float:
    """A quantile of sorted values; NumPy's own subtracts neighbours, which may be infinite."""
    if np.isnan(ordered).any():
        return float("nan")
    place = probability * (len(ordered) - 1)
    below = int(np.floor(place))
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    part = place - below
    return low if not part or low == high else low * (1 - part) + high * part


def _probabilities(probabilities: int | Sequence[float] | None, q: int | None) -> list[float]:
    if probabilities is not None and q is not None:
        raise QuantilesParameterConflictError("Either probabilities or q is given, not both.")
    given = q if probabilities is None else probabilities
    if given is None:
        raise QuantilesParameterMissingError("Either probabilities or q is to be given.")
    if isinstance(given, int | float):
        if given < 2 or given != int(given):
            raise InvalidParameterError(f"There are at least two intervals; given {given}.")
        return [i / int(given) for i in range(1, int(given))]
    if any(not 0 <= p <= 1 for p in given):
        raise InvalidParameterError(f"Probabilities lie between 0 and 1; given {list(given)}.")
    if list(given) != sorted(given):
        raise AscendingProbabilitiesRequiredError(f"Given {list(given)}.")
    return list(given)


def _reduced(
    of_all: Callable[..., Any],
    of_data: Callable[..., Any],
    data: Any,
    ignore_nodata: bool,
    axis: Any,
    keepdims: bool,
    *,
    zero_of_none: bool = False,
) -> Any:
    """A reduction: `of_data` leaves NaN out, and `zero_of_none` says it makes a number of none."""
    values = elements(data)
    if holds_arrays(values):
        values, axis, keepdims = stacked(values), 0, False
    if not is_array(values):
        known = _known(values, ignore_nodata)
        with np.errstate(all="ignore"):
            return native(of_all(np.asarray(known))) if known else None
    if values.size == 0:
        return None
    ignoring = ignore_nodata and can_miss(values)
    with quiet():
        result = (of_data if ignoring else of_all)(values, axis=axis, keepdims=keepdims)
    if ignoring and zero_of_none:
        empty = missing(values).all(axis=axis, keepdims=keepdims)
        result = np.where(empty, np.asarray(np.nan, result.dtype), result)
    return native(result)


def _known(values: Sequence[Any], ignore_nodata: bool) -> list[Any]:
    """Values that are data; none at all if no data counts and is there."""
    known = [value for value in values if value is not None]
    return known if ignore_nodata or len(known) == len(values) else []


def _sample(of_population: Callable[..., Any]) -> Callable[..., Any]:
    return _whole(partial(of_population, ddof=1))


def _whole(of_values: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction of Dask arrays done by NumPy on the whole of an axis.

    Dask has no median of several axes, and warns of every pixel without data in a deviation.
    """

    def of_all(values: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if not isinstance(values, da.Array) or isinstance(axis, tuple):
            return of_values(values, axis=axis, keepdims=keepdims)
        lined, line = (values.ravel(), 0) if axis is None else (values, axis)
        floats = np.result_type(values.dtype, np.float32)
        result = along(
            lambda block, n: of_values(block, axis=n, keepdims=True).astype(floats),
            lined,
            line,
            dtype=floats,
            length=1,
        )
        return result if keepdims else np.take(result, 0, axis=line)

    return of_all
