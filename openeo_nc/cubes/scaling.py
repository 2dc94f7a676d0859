"""Converts between a cube's numbers and a codec card's; nothing else in the package does.

        physical value = cube number * nc:scale          (attribute of the cube)
        physical value = card number * card.scale        (Sentinel-2: 0.0001)
        card number    = cube number * factor            factor = nc:scale / card.scale

A cube without `nc:scale` is taken to hold the card's numbers already. A card without a scale
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
    given = cube.attrs.get(SCALE) if scale is None else scale
    if given is None or card.scale is None:
        return 1.0
    value = float(given)
    if not (math.isfinite(value) and value > 0):
        raise InvalidParameterError(f"scale must be a number above 0; given {given!r}.")
    ratio = value / card.scale
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
        return multiply(numbers, 1.0 / ratio, target)
    info = np.iinfo(target)
    exact = numbers.astype(np.float64) / ratio
    empty = np.isnan(exact)
    values = np.rint(np.where(empty, 0, exact)).clip(info.min, info.max).astype(target)
    if nodata is not None:
        values[empty] = nodata
    return values


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
