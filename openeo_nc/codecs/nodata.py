"""Missing pixels of a tile: found before a codec runs, filled for it, restored exactly after it."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openeo_nc.errors import InvalidParameterError, InvalidValuesError

Mask = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


def find(x: npt.NDArray[Any], nodata: float | None) -> Mask | None:
    """`(bands, y, x)` bool, True where x is missing; None if nothing is.

    NaN is missing in float arrays, and so is `nodata` if given.

    Raises
    ------
    InvalidValuesError
        A value that is not missing is infinite.
    InvalidParameterError
        No pixel of an integer dtype can have the value nodata, or x is a masked array.
    """
    if isinstance(x, np.ma.MaskedArray):
        raise InvalidParameterError(
            "a masked array: its mask would be lost; give x.filled(value) and nodata=value"
        )
    if nodata is not None and x.dtype.kind != "f":
        limits = np.iinfo(x.dtype)
        if not limits.min <= nodata <= limits.max or nodata != int(nodata):
            raise InvalidParameterError(f"nodata {nodata}: no {x.dtype} has this value")
    mask = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    if nodata is not None and not math.isnan(nodata):
        mask |= x == nodata
    if x.dtype.kind == "f" and (infinite := np.isinf(x) & ~mask).any():
        raise InvalidValuesError(
            f"{int(infinite.sum())} infinite values; replace them or mark them as no data (NaN)"
        )
    return mask if mask.any() else None


def fill(
    x: npt.NDArray[Number], mask: Mask | None, *, fade: float | None = None
) -> npt.NDArray[Number]:
    """Missing pixels take the nearest valid one of their band; a band without any takes zeros.

    With `fade`, a pixel that is so many pixels away from it lies halfway to the middle of the
    band's range: large gaps become flat, and so cost little.
    """
    if mask is None:
        return x
    filled = x.copy()
    for band, missing in zip(filled, mask, strict=True):
        if missing.all():
            band[...] = 0
        elif missing.any():
            distance, nearest = ndimage.distance_transform_edt(missing, return_indices=True)
            valid = band[~missing]
            band[...] = band[tuple(nearest)]
            if fade is not None:
                middle = float(valid.min()) / 2 + float(valid.max()) / 2
                far = band[missing].astype(np.float64) - middle
                band[missing] = middle + far * 0.5 ** (distance[missing] / fade)
    return filled


def restore(
    values: npt.NDArray[Any], dtype: np.dtype[Any], mask: Mask | None, nodata: float | None
) -> npt.NDArray[Any]:
    """Decoded real values, or pixels, as pixels of a dtype, missing ones as they were.

    Integers are rounded and clipped to their range. A valid pixel that would decode to the nodata
    value takes the next one beside it.
    """
    if values.dtype == dtype and dtype.kind != "f":
        out = values.copy()
    elif dtype.kind != "f":
        limits = np.iinfo(dtype)
        top = float(limits.max)
        if int(top) > limits.max:  # 64 bits: the nearest float64 is one too many
            top = math.nextafter(top, 0)
        out = np.clip(np.rint(values), limits.min, top).astype(dtype)
    else:
        limits_f = np.finfo(dtype)
        out = np.clip(values, limits_f.min, limits_f.max).astype(dtype)
    if nodata is not None and not math.isnan(nodata):
        clash = out == nodata
        if clash.any():
            out[clash] = _neighbour(nodata, dtype)
    if mask is not None:
        out[mask] = np.nan if nodata is None else nodata
    return out


def _neighbour(nodata: float, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return np.nextafter(dtype.type(nodata), dtype.type(np.inf if nodata <= 0 else 0))
    return int(nodata) + 1 if nodata < np.iinfo(dtype).max else int(nodata) - 1
