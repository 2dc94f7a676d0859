"""An original beside its reconstruction: what every metric takes, and the means that they form.

Two NumPy arrays, `(bands, y, x)` or `(t, bands, y, x)`, or two DataArrays, lazy or not. Valid is
what the original has data for: not NaN and not `nodata`. A reconstruction that is NaN where the
original is valid makes every mean NaN: a lost pixel is never averaged away.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.codecs.peak import clips
from openeo_nc.cubes.dims import BANDS, RASTER
from openeo_nc.errors import DimensionMissingError, GridMismatchError

Array = npt.NDArray[Any]
Dims = Iterable[Hashable] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Two arrays on the same labels, and which of their elements count."""

    original: xr.DataArray
    """float64."""
    reconstruction: xr.DataArray
    """float64, dims and labels of the original."""
    valid: xr.DataArray
    """bool, where the original has data."""

    @classmethod
    def of(
        cls, x: Array | xr.DataArray, x_hat: Array | xr.DataArray, nodata: float | None = None
    ) -> Self:
        """Both as float64 DataArrays; a DataArray's `_FillValue` is its nodata if none is given.

        Raises
        ------
        GridMismatchError, DimensionMissingError
        """
        a, b = _labelled(x), _labelled(x_hat)
        if a.dims != b.dims or a.shape != b.shape:
            raise GridMismatchError(
                f"The original is {dict(a.sizes)}, the reconstruction {dict(b.sizes)}; "
                "they must agree."
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
        return cls(original=a.astype(np.float64), reconstruction=b.astype(np.float64), valid=valid)

    def clipped(self, peak: float | None, over: list[Hashable] | None) -> Self:
        """Both clipped to 0..peak, where `codecs.peak` says so of the values of a reduction.

        Everywhere if none is given; nowhere without a peak.
        """
        if peak is None:
            return self
        a, b = self.original.clip(0.0, peak), self.reconstruction.clip(0.0, peak)
        if over is not None:
            clip = clips(*self.limits(over), peak)
            a, b = a.where(clip, self.original), b.where(clip, self.reconstruction)
        return type(self)(original=a, reconstruction=b, valid=self.valid)

    def dims(self, dim: Dims) -> list[Hashable]:
        """The dimensions to reduce, all by default; DimensionMissingError if one is not there."""
        if dim is None:
            return list(self.original.dims)
        names: list[Hashable] = [dim] if isinstance(dim, str) else list(dim)
        missing = [str(name) for name in names if name not in self.original.dims]
        if missing:
            raise DimensionMissingError(
                f"The cube lacks the dimension {', '.join(missing)}; it has "
                f"{', '.join(map(str, self.original.dims))}."
            )
        return names

    def require_bands(self, what: str) -> None:
        """Raise DimensionMissingError unless there are bands."""
        if BANDS not in self.original.dims:
            raise DimensionMissingError(
                f"{what} needs the dimension '{BANDS}'; the cube has "
                f"{', '.join(map(str, self.original.dims)) or 'none'}."
            )

    def limits(self, over: list[Hashable]) -> tuple[xr.DataArray, xr.DataArray]:
        """Smallest and largest valid value of the original; inf and -inf where none is valid."""
        a: xr.DataArray = self.original
        return a.where(self.valid, np.inf).min(over), a.where(self.valid, -np.inf).max(over)

    def spread(self, over: list[Hashable]) -> xr.DataArray:
        """Largest less smallest valid value of the original; -inf where none is valid."""
        low, high = self.limits(over)
        return high - low

    def error(self) -> xr.DataArray:
        """Reconstruction less original."""
        return self.reconstruction - self.original


def mean(values: xr.DataArray, use: xr.DataArray, over: list[Hashable]) -> xr.DataArray:
    """Mean over the elements in use; NaN without any, and NaN if one of them is NaN."""
    count = use.sum(over)
    return values.where(use, 0.0).sum(over, skipna=False) / count.where(count > 0)


def decibel(ratio: xr.DataArray) -> xr.DataArray:
    """10 log10 of what is above zero, NaN elsewhere."""
    value: xr.DataArray = 10 * xr.ufuncs.log10(ratio.where(ratio > 0))
    return value


def as_given(x: Array | xr.DataArray, value: xr.DataArray) -> xr.DataArray | Array | float:
    """A metric in the form of its input: a DataArray, or a number for NumPy arrays."""
    if isinstance(x, xr.DataArray):
        return value
    return float(value) if value.ndim == 0 else np.asarray(value)


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
