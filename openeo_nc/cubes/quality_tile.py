"""What is measured of one tile: sums that can be pooled, and pictures of where it is worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.codecs import bitstream
from openeo_nc.codecs.payloads import describe, split
from openeo_nc.cubes.borders import near_border
from openeo_nc.cubes.comparison import Comparison
from openeo_nc.cubes.dims import BANDS, RASTER, X, Y
from openeo_nc.cubes.metrics import angles, max_error, psnr
from openeo_nc.cubes.ssim import ms_ssim
from openeo_nc.cubes.vegetation import ndvi_bands, ndvi_errors

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
DETAIL = 256
"""Longest side in pixels of the pictures of a tile."""
_COLOURS = (("B04", "red"), ("B03", "green"), ("B02", "blue"))


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a comparison goes by; the same for all tiles."""

    bands: tuple[str, ...]
    """Labels of the bands."""
    peak: float | None
    """Peak of PSNR and MS-SSIM in the cube's numbers; None is the range of each tile."""
    nodata: float | None
    """No data of integer cubes."""
    tile: int
    """Side of a tile in pixels."""
    red: str | None = None
    """Red band of NDVI; None is the one with a common name."""
    nir: str | None = None
    """Near-infrared band of NDVI."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """A sum over pixels and how many they are."""

    total: float = 0.0
    """NaN if one of them was lost."""
    count: int = 0
    """Pixels summed."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(total=self.total + other.total, count=self.count + other.count)

    @property
    def mean(self) -> float:
        """NaN if there is none."""
        return self.total / self.count if self.count else float("nan")

    @classmethod
    def of(cls, values: xr.DataArray, use: xr.DataArray) -> Sums:
        """Of the values in use."""
        return cls(total=float(values.where(use, 0.0).sum(skipna=False)), count=int(use.sum()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The part of a tile with most error, as pictures are made of."""

    place: tuple[int, int, int]
    """Date, row and column of the tile."""
    corner: tuple[int, int]
    """Row and column of its first pixel in the tile."""
    psnr: float
    """Of the whole tile, dB."""
    share: float
    """Share of the tile that lies inside the cube."""
    original: npt.NDArray[np.float32]
    """`(3, y, x)` red, green, blue in the cube's numbers; NaN is no data."""
    reconstruction: npt.NDArray[np.float32]
    """`(3, y, x)`."""
    error: npt.NDArray[np.float32]
    """`(y, x)`, root mean square over bands."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileQuality:
    """The measurements of one tile of one date."""

    place: tuple[int, int, int]
    """Date, row and column of the tile among the cube's."""
    shape: tuple[int, int, int]
    """`(bands, height, width)` of the part inside the cube."""
    nbytes: float | None
    """Bytes of its payload; a share of them where several dates are one payload."""
    coded: dict[str, Any] | None
    """Codec, quality and whether an error is bounded, as the payload says."""
    valid: npt.NDArray[np.int64]
    """Valid values of each band."""
    lost: int
    """Valid values that the reconstruction lacks."""
    squared: Floats
    """Sum of squared errors of each band."""
    largest: Floats
    """Largest absolute error of each band; NaN without a valid value."""
    psnr: float
    """dB; infinite without error that it sees, NaN where it has no value."""
    band_psnr: Floats
    """dB of each band by itself."""
    ms_ssim: Floats
    """Of each band."""
    angle: Sums | None
    """Spectral angles in degrees; None for a single band."""
    ndvi_absolute: Sums | None
    """Absolute errors of NDVI; None without its bands."""
    ndvi_squared: Sums | None
    """Squared errors of NDVI."""
    border: Sums
    """Squared errors along the tile's borders."""
    inside: Sums
    """Squared errors elsewhere."""

    def share(self, tile: int) -> float:
        """Share of the tile, of side `tile`, that lies inside the cube."""
        return self.shape[1] * self.shape[2] / tile**2

    @property
    def exact(self) -> bool:
        """Whether there are valid values, all without any error."""
        return bool(self.valid.any() and not self.lost and np.nanmax(self.largest) == 0)


def measure_tile(
    terms: Terms, place: tuple[int, int, int], first: tuple[int, int],
    original: Array, restored: Array, payload: bytes | None,
) -> tuple[TileQuality, Sample | None]:  # fmt: skip
    """Measurements of a tile, and a sample of it unless it is exact or empty.

    Parameters
    ----------
    first
        Row and column of the first pixel within the tile, where the cube cuts the tile.
    original, restored
        `(bands, y, x)` in the cube's numbers.
    """
    coords = {BANDS: list(terms.bands)}
    x, x_hat = (xr.DataArray(v, dims=RASTER[1:], coords=coords) for v in (original, restored))
    planes, nodata = (Y, X), terms.nodata
    pair = Comparison.of(x, x_hat, nodata)
    squared = pair.error() ** 2
    near = near_border(original.shape[1:], (terms.tile, terms.tile), first)
    flags = xr.DataArray(near, dims=planes)
    quality = TileQuality(
        place=place,
        shape=(original.shape[0], original.shape[1], original.shape[2]),
        nbytes=None if payload is None else _bytes_of(payload),
        coded=None if payload is None else _coded(payload),
        valid=pair.valid.sum(planes).values,
        lost=int((pair.valid & pair.reconstruction.isnull()).sum()),
        squared=squared.where(pair.valid, 0.0).sum(planes, skipna=False).values,
        largest=max_error(x, x_hat, nodata=nodata, dim=planes).values,
        psnr=float(psnr(x, x_hat, peak=terms.peak, nodata=nodata)),
        band_psnr=psnr(x, x_hat, peak=terms.peak, nodata=nodata, dim=planes).values,
        ms_ssim=ms_ssim(x, x_hat, peak=terms.peak, nodata=nodata, dim=planes).values,
        angle=Sums.of(*angles(pair)) if len(terms.bands) > 1 else None,
        **_ndvi(pair, terms),
        border=Sums.of(squared, pair.valid & flags),
        inside=Sums.of(squared, pair.valid & ~flags),
    )
    return quality, _sample(quality, pair, terms) if np.isfinite(quality.psnr) else None


def _ndvi(pair: Comparison, terms: Terms) -> dict[str, Sums | None]:
    if ndvi_bands(terms.bands, terms.red, terms.nir) is None:
        return {"ndvi_absolute": None, "ndvi_squared": None}
    error, use = ndvi_errors(pair, terms.red, terms.nir)
    return {"ndvi_absolute": Sums.of(abs(error), use), "ndvi_squared": Sums.of(error**2, use)}


def _bytes_of(payload: bytes) -> float:
    """A date of a group has its share of the group's bytes."""
    coded = _coded(payload)
    return len(split(payload)[1]) / (1 if coded is None else coded["dates"])


def _coded(payload: bytes) -> dict[str, Any] | None:
    """What a payload of this package's container says; None for those of other codecs."""
    if not split(payload)[1].startswith(bitstream.MAGIC):
        return None
    found = describe(payload)
    return {name: found[name] for name in ("codec", "quality", "bounded", "dates")}


def _sample(quality: TileQuality, pair: Comparison, terms: Terms) -> Sample:
    valid = pair.valid.values
    error = np.sqrt(np.where(valid, pair.error().values ** 2, 0.0).mean(axis=0))
    top, left = _worst(error)
    part = (slice(None), slice(top, top + DETAIL), slice(left, left + DETAIL))
    channels = colour_bands(terms.bands)
    original, restored = (
        np.where(valid, values, np.nan)[channels][part].astype(np.float32)
        for values in (pair.original.values, pair.reconstruction.values)
    )
    shown = np.where(valid.any(axis=0), error, np.nan)
    return Sample(
        place=quality.place,
        corner=(top, left),
        psnr=quality.psnr,
        share=quality.share(terms.tile),
        original=original,
        reconstruction=restored,
        error=shown[part[1:]].astype(np.float32),
    )


def _worst(error: Floats, stride: int = 32) -> tuple[int, int]:
    """Corner of the part of DETAIL pixels with the largest sum of squared errors."""
    height, width = error.shape
    sums = np.pad((error**2).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    corners = [
        (y, x)
        for y in {*range(0, max(height - DETAIL, 0), stride), max(height - DETAIL, 0)}
        for x in {*range(0, max(width - DETAIL, 0), stride), max(width - DETAIL, 0)}
    ]

    def total(corner: tuple[int, int]) -> float:
        y, x = corner
        b, r = min(y + DETAIL, height), min(x + DETAIL, width)
        return float(sums[b, r] - sums[y, r] - sums[b, x] + sums[y, x])

    return max(sorted(corners), key=total)


def colour_bands(names: tuple[str, ...]) -> list[int]:
    """Places of red, green and blue; the first three bands, or the first, where they are not."""
    known = {name.lower(): place for place, name in enumerate(names)}
    found = [
        next((known[n.lower()] for n in some if n.lower() in known), None) for some in _COLOURS
    ]
    places = [place for place in found if place is not None]
    if len(places) == len(_COLOURS):
        return places
    return [0, 1, 2] if len(names) > 2 else [0, 0, 0]
