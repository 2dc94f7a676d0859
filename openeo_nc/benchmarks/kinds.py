"""Tiles of many kinds that are no twelve bands of Sentinel-2 L2A, as their sources have them.

No weights of this package were made from the files of these kinds, but for the 60 m product and some of
the places of Sentinel-2, of which other bands or another level are taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.sentinel2 import BANDS

SIDE = 264
Array = npt.NDArray[Any]
_WAVELENGTHS = (443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1610, 2190)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One tile of a kind."""

    name: str
    """What it is."""
    pixels: Array
    """`(bands, y, x)`, at most `SIDE` pixels a side."""
    nodata: float | None = None
    """Value of no data."""


def kinds(data: Path) -> Iterator[Kind]:
    """A tile of every kind that a data folder has files of."""
    twelve = next(iter(from_split(data, "s2l2a"))).pixels
    for name, bands in _SUBSETS.items():
        chosen = [BANDS.index(band) for band in bands]
        yield Kind(name=f"Sentinel-2 L2A, {name}", pixels=twelve[chosen])
    floats = twelve[[BANDS.index(band) for band in _SUBSETS["10 m"]]].astype(np.float32) / 1e4
    yield Kind(name="Sentinel-2 L2A, 10 m, float32", pixels=floats)
    yield Kind(name="hyperspectral, 200 bands made of 12", pixels=_spectra(twelve[:, :128, :128]))
    for name, (pattern, read, nodata) in _FILES.items():
        for path in sorted(data.glob(pattern))[:1]:
            pixels = read(path)[:, :SIDE, :SIDE]
            yield Kind(name=name, pixels=np.ascontiguousarray(pixels), nodata=nodata)


def _spectra(twelve: Array) -> Array:
    """200 bands between the twelve, with gains and noise of their own."""
    rng = np.random.default_rng(0)
    at = np.linspace(_WAVELENGTHS[0], _WAVELENGTHS[-1], 200)
    flat = twelve.reshape(len(twelve), -1).astype(np.float64)
    spectra = np.array([np.interp(at, _WAVELENGTHS, pixel) for pixel in flat.T]).T
    spectra = spectra * rng.normal(1, 0.01, (200, 1)) + rng.normal(0, 8, spectra.shape)
    return spectra.clip(0, 65535).round().astype(np.uint16).reshape(200, *twelve.shape[1:])


def _raster(path: Path) -> Array:
    import rasterio

    with warnings.catch_warnings():
        # Where a tile lies does not matter here.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            values: Array = file.read()
    return values


def _classes(path: Path) -> Array:
    return _raster(path)[:1]


def _field(path: Path, levels: int = 3) -> Array:
    """float32 levels or times of the first variable that has a map."""
    import xarray as xr

    with xr.open_dataset(path, engine="netcdf4") as dataset:
        values = next(v for v in dataset.data_vars.values() if v.ndim >= 2).values
    return np.asarray(values, np.float32).reshape(-1, *values.shape[-2:])[:levels]


_SUBSETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "10 m": ("B02", "B03", "B04", "B08"),
        "10 and 20 m": tuple(band for band in BANDS if band not in ("B01", "B09")),
        "RGB": ("B04", "B03", "B02"),
        "bands reversed": BANDS[::-1],
    }
)
_FILES: Mapping[str, tuple[str, Callable[[Path], Array], float | None]] = MappingProxyType(
    {
        "Sentinel-2 L1C, 13 bands": ("s2/majortom_l1c/*.tif", _raster, None),
        "Sentinel-2 L1C, 64 x 64": ("s2/eurosat_l1c/*.tif", _raster, None),
        "Sentinel-2 L2A, 60 m": ("s2/t29unu_l2a_60m/*.tif", _raster, 0.0),
        "Sentinel-1 VV, VH in dB": ("s1/majortom_rtc/*.tif", _raster, None),
        "Sentinel-1 VV, VH in dB, 120 x 120": ("s1/bigearthnet_grd/*.tif", _raster, None),
        "ERA5 temperature, one level": ("era5/*t850_global*.nc", _field, None),
        "ERA-Interim monthly mean, 3 levels": ("era5/eraint_month01*.nc", _field, None),
        "ERA-Interim at one time, 3 levels": ("era5/eraint_2005*.nc", _field, None),
        "elevation in m, int16": ("labels/majortom_dem/*.tif", _raster, None),
        "land cover, uint8": ("labels/majortom_lulc/*.tif", _raster, None),
        "scene classes, uint8": ("labels/t29unu_scl_60m/*.tif", _classes, None),
    }
)
