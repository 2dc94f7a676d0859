"""Converts between a cube's numbers and a codec card's; nothing else in the package does.

        physical value = cube number * nc:scale          (attribute of the cube)
        physical value = card number * card.scale        (Sentinel-2: 0.0001)
        card number    = cube number * factor            factor = nc:scale / card.scale

A bound on the error is converted with them (`card_bound`): it must hold for the cube's numbers, once
both conversions have rounded. A cube without `nc:scale` is taken to hold the card's numbers already. A card without a scale
takes numbers as they are. Offsets are removed where data are loaded, so none occur here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openeo_nc.cubes.dims import lazy, nodata_of
from openeo_nc.errors import DataTypeUnsupportedError, InvalidParameterError

if TYPE_CHECKING:
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard

SCALE = "nc:scale"
"""Attribute of a cube: physical value = number * this. Loaders that apply scale set 1.0."""


def factor(cube: xr.DataArray, card: CodecCard, scale: float | None = None) -> float:
    """What cube numbers are multiplied by to give card numbers.

    Parameters
    ----------
    scale
        Physical value of the cube's 1; default the cube's `nc:scale`, else 1:1.

    Raises
    ------
    InvalidParameterError
        The scale is not a positive finite number.
    """
    return 1.0 if card.scale is None else factor_to(cube, card.scale, scale)


def factor_to(cube: xr.DataArray, unit: float, scale: float | None = None) -> float:
    """As `factor`, to numbers that stand for `unit` each."""
    given = cube.attrs.get(SCALE) if scale is None else scale
    if given is None:
        return 1.0
    value = float(given)
    if not (math.isfinite(value) and value > 0):
        raise InvalidParameterError(f"scale must be a number above 0; given {given!r}.")
    ratio = value / unit
    # 0.0001 / 0.0001 is 1, but 0.00010000000000000001 / 0.0001 is meant to be.
    return 1.0 if math.isclose(ratio, 1.0, rel_tol=1e-9) else ratio


def to_card(cube: xr.DataArray, card: CodecCard, scale: float | None = None) -> xr.DataArray:
    """The cube in the card's numbers and one of its dtypes (lazy).

    A cube that is in them already comes back as it is. One that needs another number or dtype
    becomes float32 with NaN as no data, or a wider integer where only the width is missing.

    Raises
    ------
    DataTypeUnsupportedError
        The card takes no dtype that holds the cube's numbers.
    InvalidParameterError
        The scale is not a positive finite number.
    """
    ratio = factor(cube, card, scale)
    dtype = _target(cube.dtype, card, exact=ratio == 1.0)
    if ratio == 1.0 and dtype == cube.dtype:
        return cube
    to_float = np.issubdtype(dtype, np.floating)
    nodata = nodata_of(cube) if to_float else None
    data = lazy(cube).data.map_blocks(multiply, ratio, dtype, nodata=nodata, dtype=dtype)
    converted = cube.copy(data=data)
    if to_float:
        converted.attrs.pop("_FillValue", None)
    if card.scale is not None:
        converted.attrs[SCALE] = card.scale
    return converted


def from_card(
    numbers: npt.NDArray[Any],
    ratio: float,
    dtype: npt.DTypeLike,
    nodata: float | None = None,
) -> npt.NDArray[Any]:
    """Card numbers of one block back in a cube's numbers and dtype: the inverse of `to_card`.

    Parameters
    ----------
    numbers
        Any shape, card numbers; NaN is no data in floats.
    ratio
        What `factor` gave for the cube.
    dtype
        dtype of the cube; integers are rounded and clipped to its range.
    nodata
        Value of no data in an integer cube.
    """
    target = np.dtype(dtype)
    if ratio == 1.0 and numbers.dtype == target:
        return numbers
    if np.issubdtype(target, np.floating):
        limit = np.finfo(target).max
        return np.clip(numbers * np.float64(1.0 / ratio), -limit, limit).astype(target)
    info = np.iinfo(target)
    exact = numbers.astype(np.float64) / ratio
    empty = np.isnan(exact) if numbers.dtype.kind == "f" else numbers == nodata
    values = np.rint(np.where(empty, 0, exact)).clip(info.min, info.max).astype(target)
    if nodata is not None:
        _keep_apart(values, exact, empty, int(nodata))
        values[empty] = nodata
    return values


def _keep_apart(
    values: npt.NDArray[Any], exact: npt.NDArray[np.float64], empty: npt.NDArray[np.bool_],
    nodata: int,
) -> None:  # fmt: skip
    """Give valid pixels that were rounded to the value of no data the nearest other one."""
    clash = (values == nodata) & ~empty
    if clash.any():
        info = np.iinfo(values.dtype)
        below, above = max(nodata - 1, int(info.min)), min(nodata + 1, int(info.max))
        if below == nodata or above == nodata:
            below = above = below + above - nodata
        values[clash] = np.where(exact[clash] < nodata, below, above)


def card_bound(
    max_error: float,
    largest: float,
    ratio: float,
    dtype: npt.DTypeLike,
    card_dtype: npt.DTypeLike,
    nodata: float | None = None,
) -> float:
    """The bound on card numbers that keeps one on the cube's numbers once `from_card` has rounded.

    Parameters
    ----------
    max_error
        Largest absolute error of a cube number.
    largest
        Largest absolute card number of the pixels.
    ratio, dtype, nodata
        As `from_card` takes them.
    card_dtype
        dtype of the card numbers.

    Raises
    ------
    InvalidParameterError
        Converting alone costs more than the bound.
    """
    target, card = np.dtype(dtype), np.dtype(card_dtype)
    if not rounds(ratio, target, card):
        return max_error
    # twice the half units in the last place by which each conversion can be off
    magnitude = largest / ratio + max_error
    lost = magnitude * 2.0**-50
    if not (target.kind in "iu" and ratio == 1.0 and largest <= 2 / np.finfo(card).eps):
        lost += magnitude * float(np.finfo(card).eps)
    if target.kind == "f":
        info = np.finfo(target)
        lost += magnitude * float(info.eps) + float(info.smallest_subnormal)
        room = max_error - lost
    else:
        room = _whole_room(max_error, nodata) - lost
        if room < 0 and lost < 0.5:  # rounding to whole numbers takes all of it back
            room = 0.0
    if room < 0:
        raise InvalidParameterError(
            f"A max_error of {max_error:g} cannot be kept: for values up to {largest / ratio:g} the "
            f"conversion to the codec's units, in {card.name}, alone may cost {lost:.2g}. A codec "
            "that takes the numbers as they are, such as 'klt-dct', keeps it."
        )
    return room * ratio


def rounds(ratio: float, dtype: npt.DTypeLike, card_dtype: npt.DTypeLike) -> bool:
    """Whether converting to card numbers and back rounds; else both are exact."""
    target, card = np.dtype(dtype), np.dtype(card_dtype)
    return ratio != 1.0 or (target != card and not (target.kind in "iu" and card.kind in "iu"))


def _whole_room(max_error: float, nodata: float | None) -> float:
    """How far a value may lie from a whole number so that it is within the bound once rounded.

    A value that rounds to no data moves on to the next number, which costs one more.
    """
    room = min(max_error, math.floor(max_error) + 0.5)
    return max(room if nodata is None else room - 1, min(max_error, 0.5))


def multiply(
    block: npt.NDArray[Any], ratio: float, dtype: npt.DTypeLike, nodata: float | None = None
) -> npt.NDArray[Any]:
    """One block times a number, computed in float64; `nodata` of integers becomes NaN."""
    target = np.dtype(dtype)
    product = block if ratio == 1.0 else block * np.float64(ratio)
    values: npt.NDArray[Any] = product.astype(target)
    if nodata is not None and not np.isnan(nodata):
        values[block == nodata] = np.nan
    return values


def _target(dtype: np.dtype[Any], card: CodecCard, *, exact: bool) -> np.dtype[Any]:
    if exact and dtype.name in card.dtypes:
        return dtype
    if exact and np.issubdtype(dtype, np.integer):
        wider = [np.dtype(d) for d in card.dtypes if np.can_cast(dtype, d)]
        if integers := [d for d in wider if np.issubdtype(d, np.integer)]:
            return min(integers, key=lambda d: d.itemsize)
    if "float32" in card.dtypes and np.issubdtype(dtype, np.number) and dtype.kind != "c":
        return np.dtype(np.float32)
    raise DataTypeUnsupportedError(
        f"The codec '{card.codec_id}' takes {', '.join(card.dtypes)}; the cube is {dtype.name}."
    )
