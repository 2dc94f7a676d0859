"""Quality and rate of a reconstruction: MSE, PSNR, largest error, spectral angle, bits per value.

The definitions are those of every table of the project. PSNR: squared error pooled over bands and
valid pixels of a tile, values clipped to 0..peak where the original lies in it (`codecs.peak` says
why); a mean PSNR is the mean of the tiles' PSNR.
bpppb counts every byte of the payload over bands * height * width, valid or not; 16 / bpppb is
the ratio to uint16. What is valid, and what becomes of lost pixels, is said in `comparison`.

All functions take two NumPy arrays, `(bands, y, x)` or `(t, bands, y, x)`, and give a float; or
two DataArrays, and give a DataArray, lazy where the cubes are. Structure, vegetation and tile
borders have modules of their own: `ssim`, `vegetation`, `borders`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import xarray as xr

from openeo_nc.cubes.comparison import Array, Comparison, Dims, as_given, decibel, mean
from openeo_nc.cubes.dims import BANDS
from openeo_nc.errors import InvalidParameterError

Clip = tuple[float, float] | None


def bpppb(nbytes: float, shape: Sequence[int]) -> float:
    """Bits per pixel per band of a payload of `nbytes` that holds an array of `shape`."""
    elements = math.prod(shape)
    if elements == 0:
        raise InvalidParameterError(f"An array of shape {tuple(shape)} has no pixels.")
    return 8.0 * nbytes / elements


@overload
def mse(
    x: xr.DataArray, x_hat: xr.DataArray, *, clip: Clip = ..., nodata: float | None = ...,
    dim: Dims = ...,
) -> xr.DataArray: ...  # fmt: skip
@overload
def mse(x: Array, x_hat: Array, *, clip: Clip = ..., nodata: float | None = ...) -> float: ...
def mse(
    x: Any, x_hat: Any, *, clip: Clip = None, nodata: float | None = None, dim: Dims = None
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
    pair = Comparison.of(x, x_hat, nodata)
    a, b = pair.original, pair.reconstruction
    if clip is not None:
        a, b = a.clip(*clip), b.clip(*clip)
    return as_given(x, mean((a - b) ** 2, pair.valid, pair.dims(dim)))


@overload
def rmse(
    x: xr.DataArray, x_hat: xr.DataArray, *, nodata: float | None = ..., dim: Dims = ...
) -> xr.DataArray: ...
@overload
def rmse(x: Array, x_hat: Array, *, nodata: float | None = ...) -> float: ...
def rmse(x: Any, x_hat: Any, *, nodata: float | None = None, dim: Dims = None) -> Any:
    """Root of `mse`, in units of the input; nothing is clipped."""
    pair = Comparison.of(x, x_hat, nodata)
    return as_given(x, mean(pair.error() ** 2, pair.valid, pair.dims(dim)) ** 0.5)


@overload
def max_error(
    x: xr.DataArray, x_hat: xr.DataArray, *, nodata: float | None = ..., dim: Dims = ...
) -> xr.DataArray: ...
@overload
def max_error(x: Array, x_hat: Array, *, nodata: float | None = ...) -> float: ...
def max_error(x: Any, x_hat: Any, *, nodata: float | None = None, dim: Dims = None) -> Any:
    """Largest absolute error over valid pixels; NaN if none is valid. See `mse` for parameters."""
    pair = Comparison.of(x, x_hat, nodata)
    over = pair.dims(dim)
    largest = abs(pair.error()).where(pair.valid, -np.inf).max(over, skipna=False)
    return as_given(x, largest.where(pair.valid.any(over)))


@overload
def psnr(
    x: xr.DataArray, x_hat: xr.DataArray, *, peak: float | None, nodata: float | None = ...,
    dim: Dims = ..., clip: bool = ...,
) -> xr.DataArray: ...  # fmt: skip
@overload
def psnr(
    x: Array, x_hat: Array, *, peak: float | None, nodata: float | None = ..., clip: bool = ...,
) -> float: ...  # fmt: skip
def psnr(
    x: Any, x_hat: Any, *, peak: float | None, nodata: float | None = None, dim: Dims = None,
    clip: bool = False,
) -> Any:  # fmt: skip
    """Peak signal-to-noise ratio in dB; infinite for equal arrays, NaN if no pixel is valid.

    Parameters
    ----------
    peak
        Largest value in the input's units (Sentinel-2: 10000, or 1.0 for reflectance). The
        reconstruction is clipped to 0..peak if all valid values of the original that a number is
        over lie in it. None takes the range of these and clips nothing, for data without a natural
        peak.
    clip
        Whether both arrays are clipped to 0..peak wherever they lie: the usual PSNR of reflectance,
        which counts no error above it.

    See `mse` for the other parameters and errors.
    """
    check_peak(peak)
    pair = Comparison.of(x, x_hat, nodata)
    over = pair.dims(dim)
    pair = pair.clipped(peak, None if clip else over)
    error = mean(pair.error() ** 2, pair.valid, over)
    if peak is None:
        spread = pair.spread(over) ** 2
        relative = error / spread.where(spread > 0)
    else:
        relative = error / peak**2
    return as_given(x, (-decibel(relative)).where(error != 0, np.inf))


def check_peak(peak: float | None) -> None:
    """Raise InvalidParameterError unless the peak is a positive number or None."""
    if peak is not None and not (math.isfinite(peak) and peak > 0):
        raise InvalidParameterError(f"peak is {peak}; expected a positive number or None.")


@overload
def sam(
    x: xr.DataArray, x_hat: xr.DataArray, *, nodata: float | None = ..., dim: Dims = ...
) -> xr.DataArray: ...
@overload
def sam(x: Array, x_hat: Array, *, nodata: float | None = ...) -> float: ...
def sam(x: Any, x_hat: Any, *, nodata: float | None = None, dim: Dims = None) -> Any:
    """Mean spectral angle in degrees over pixels whose bands are all valid; NaN if none is.

    Pixels whose original is zero in all bands have no angle and are left out; a reconstruction
    that is zero where the original is not counts as 90 degrees. See `mse` for the parameters.
    """
    pair = Comparison.of(x, x_hat, nodata)
    angle, use = angles(pair)
    over = [name for name in pair.dims(dim) if name != BANDS]
    return as_given(x, mean(angle, use, over))


def angles(pair: Comparison) -> tuple[xr.DataArray, xr.DataArray]:
    """Spectral angle of each pixel in degrees, and which pixels have one."""
    pair.require_bands("The spectral angle")
    a, b = pair.original, pair.reconstruction
    norm_a, norm_b = (((v**2).sum(BANDS, skipna=False)) ** 0.5 for v in (a, b))
    use = pair.valid.all(BANDS) & (norm_a > 0)
    length = (norm_a * norm_b).where(use, 1.0)
    cosine = (a * b).sum(BANDS, skipna=False).where(use, 1.0) / length.where(length != 0, 1.0)
    angle: xr.DataArray = xr.ufuncs.degrees(xr.ufuncs.arccos(cosine.clip(-1.0, 1.0)))
    return angle, use
