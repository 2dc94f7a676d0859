"""Quality and rate of a reconstruction: MSE, PSNR, spectral angle, bits per pixel per band.

The definitions are those of every table of the project. PSNR: squared error pooled over bands and
valid pixels of a tile, values clipped to 0..peak; a mean PSNR is the mean of the tiles' PSNR.
bpppb counts every byte of the payload over bands * height * width, valid or not; 16 / bpppb is
the ratio to uint16.

All functions take two NumPy arrays, `(bands, y, x)` or `(t, bands, y, x)`, and give a float; or
two DataArrays, and give a DataArray, lazy where the cubes are. Valid is what the first array, the
original, has data for: not NaN and not `nodata`. A reconstruction that is NaN where the original
is valid makes the metric NaN: a lost pixel is never averaged away.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import BANDS, RASTER
from openeo_nc.errors import DimensionMissingError, GridMismatchError, InvalidParameterError

Array = npt.NDArray[Any]
Dims = Iterable[Hashable] | None


def bpppb(nbytes: int, shape: Sequence[int]) -> float:
    """Bits per pixel per band of a payload of `nbytes` that holds an array of `shape`."""
    elements = math.prod(shape)
    if elements == 0:
        raise InvalidParameterError(f"An array of shape {tuple(shape)} has no pixels.")
    return 8.0 * nbytes / elements


@overload
def mse(
    x: xr.DataArray,
    x_hat: xr.DataArray,
    *,
    clip: tuple[float, float] | None = ...,
    nodata: float | None = ...,
    dim: Dims = ...,
) -> xr.DataArray: ...
@overload
def mse(
    x: Array,
    x_hat: Array,
    *,
    clip: tuple[float, float] | None = ...,
    nodata: float | None = ...,
) -> float: ...
def mse(
    x: Any,
    x_hat: Any,
    *,
    clip: tuple[float, float] | None = None,
    nodata: float | None = None,
    dim: Dims = None,
) -> Any:
    """Mean squared error over valid pixels, in squared units of the input; NaN if none is valid.

    Parameters
    ----------
    x, x_hat
        Original and reconstruction, same shape, dims and coordinates.
    clip
        Range both are clipped to first.
    nodata
        Value of the original that marks no data; None takes a DataArray's `_FillValue`, if any.
    dim
        Dimensions to reduce, default all: `("bands", "y", "x")` of a cube gives a value a date.

    Raises
    ------
    GridMismatchError, DimensionMissingError
    """
    a, b, valid = _pair(x, x_hat, nodata)
    over = _dims(a, dim)
    return _result(x, _pooled(a, b, valid, clip, over))


@overload
def psnr(
    x: xr.DataArray,
    x_hat: xr.DataArray,
    *,
    peak: float | None,
    nodata: float | None = ...,
    dim: Dims = ...,
) -> xr.DataArray: ...
@overload
def psnr(
    x: Array,
    x_hat: Array,
    *,
    peak: float | None,
    nodata: float | None = ...,
) -> float: ...
def psnr(
    x: Any,
    x_hat: Any,
    *,
    peak: float | None,
    nodata: float | None = None,
    dim: Dims = None,
) -> Any:
    """Peak signal-to-noise ratio in dB; infinite for equal arrays, NaN if no pixel is valid.

    Parameters
    ----------
    peak
        Largest value in the input's units (Sentinel-2: 10000, or 1.0 for reflectance); both
        arrays are clipped to 0..peak. None takes the range of the original's valid values and
        clips nothing, for data without a natural peak.

    See `mse` for the other parameters and errors.
    """
    if peak is not None and not (math.isfinite(peak) and peak > 0):
        raise InvalidParameterError(f"peak is {peak}; expected a positive number or None.")
    a, b, valid = _pair(x, x_hat, nodata)
    over = _dims(a, dim)
    error = _pooled(a, b, valid, None if peak is None else (0.0, peak), over)
    if peak is None:
        spread = (a.where(valid, -np.inf).max(over) - a.where(valid, np.inf).min(over)) ** 2
        relative = error / spread.where(spread > 0)
    else:
        relative = error / peak**2
    decibel: xr.DataArray = -10 * xr.ufuncs.log10(relative.where(relative > 0))
    return _result(x, decibel.where(error != 0, np.inf))


@overload
def sam(
    x: xr.DataArray,
    x_hat: xr.DataArray,
    *,
    nodata: float | None = ...,
    dim: Dims = ...,
) -> xr.DataArray: ...
@overload
def sam(
    x: Array,
    x_hat: Array,
    *,
    nodata: float | None = ...,
) -> float: ...
def sam(
    x: Any,
    x_hat: Any,
    *,
    nodata: float | None = None,
    dim: Dims = None,
) -> Any:
    """Mean spectral angle in degrees over pixels whose bands are all valid; NaN if none is.

    Pixels whose original is zero in all bands have no angle and are left out; a reconstruction
    that is zero where the original is not counts as 90 degrees. See `mse` for the parameters.
    """
    a, b, valid = _pair(x, x_hat, nodata)
    if BANDS not in a.dims:
        raise DimensionMissingError(
            f"The spectral angle needs the dimension '{BANDS}'; the cube has "
            f"{', '.join(map(str, a.dims)) or 'none'}."
        )
    norm_a, norm_b = (((v**2).sum(BANDS, skipna=False)) ** 0.5 for v in (a, b))
    use = valid.all(BANDS) & (norm_a > 0)
    length = (norm_a * norm_b).where(use, 1.0)
    cosine = (a * b).sum(BANDS, skipna=False).where(use, 1.0) / length.where(length != 0, 1.0)
    angle: xr.DataArray = xr.ufuncs.degrees(xr.ufuncs.arccos(cosine.clip(-1.0, 1.0)))
    over = [name for name in _dims(a, dim) if name != BANDS]
    return _result(x, _mean(angle, use, over))


def _pooled(
    a: xr.DataArray,
    b: xr.DataArray,
    valid: xr.DataArray,
    clip: tuple[float, float] | None,
    over: list[Hashable],
) -> xr.DataArray:
    if clip is not None:
        a, b = a.clip(*clip), b.clip(*clip)
    return _mean((a - b) ** 2, valid, over)


def _mean(values: xr.DataArray, valid: xr.DataArray, over: list[Hashable]) -> xr.DataArray:
    """Mean over valid elements; NaN without any, and NaN if a valid element is NaN."""
    count = valid.sum(over)
    return values.where(valid, 0.0).sum(over, skipna=False) / count.where(count > 0)


def _pair(
    x: Array | xr.DataArray, x_hat: Array | xr.DataArray, nodata: float | None
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Both as float64 DataArrays, and which elements of the original are valid."""
    a, b = _labelled(x), _labelled(x_hat)
    if a.dims != b.dims or a.shape != b.shape:
        raise GridMismatchError(
            f"The original is {dict(a.sizes)}, the reconstruction {dict(b.sizes)}; they must agree."
        )
    try:
        a, b = xr.align(a, b, join="exact", copy=False)
    except ValueError as error:
        raise GridMismatchError(
            f"Original and reconstruction have different coordinates: {error}"
        ) from error
    if nodata is None:
        nodata = a.attrs.get("_FillValue")
    valid = a.notnull()
    if nodata is not None and not math.isnan(nodata):
        valid = valid & (a != nodata)
    return a.astype(np.float64), b.astype(np.float64), valid


def _labelled(x: Array | xr.DataArray) -> xr.DataArray:
    if isinstance(x, xr.DataArray):
        return x
    values = np.asarray(x)
    if not 1 <= values.ndim <= len(RASTER):
        raise DimensionMissingError(
            f"An array of {values.ndim} dimensions was given; expected (bands, y, x) or "
            "(t, bands, y, x)."
        )
    return xr.DataArray(values, dims=RASTER[-values.ndim :])


def _dims(a: xr.DataArray, dim: Dims) -> list[Hashable]:
    """The dimensions to reduce, checked."""
    if dim is None:
        return list(a.dims)
    names: list[Hashable] = [dim] if isinstance(dim, str) else list(dim)
    missing = [str(name) for name in names if name not in a.dims]
    if missing:
        raise DimensionMissingError(
            f"The cube lacks the dimension {', '.join(missing)}; it has "
            f"{', '.join(map(str, a.dims))}."
        )
    return names


def _result(x: Array | xr.DataArray, value: xr.DataArray) -> xr.DataArray | Array | float:
    if isinstance(x, xr.DataArray):
        return value
    return float(value) if value.ndim == 0 else np.asarray(value)
