"""Tiles of twelve bands that are no Sentinel-2 L2A: other levels, sensors and fields, noise.

Some kinds calibrate the guard, the others only test it. The files are those of the data folder that
the splits belong to; where they are not at hand, there are fewer kinds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.sentinel2 import BANDS

FloatArray = npt.NDArray[np.float64]
SIDE = 264
_CIRRUS = 10
"""Index of B10, which L1C has and L2A has not."""
_CALIBRATING_L1C = ("282D_485L", "637U_59R", "USA")
"""In the names of the L1C files that calibrate; the others test."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreign:
    """One foreign tile."""

    kind: str
    """What it is, e.g. `radar`."""
    name: str
    """File or number it is of."""
    pixels: npt.NDArray[Any]
    """`(12, y, x)`, int16 where a loader would take the numbers for reflectance x 10000."""
    calibrates: bool
    """Whether calibration may see it; never one that is scored in a benchmark."""


def foreign_tiles(data: Path, clean: Sequence[npt.NDArray[Any]]) -> list[Foreign]:
    """Every kind that a data folder has, and those made from nothing or from clean tiles.

    Parameters
    ----------
    data
        Folder with `s1`, `s2`, `era5` and `labels`; folders that are not there are passed over.
    clean
        `(12, y, x)` tiles whose bands are put into wrong orders.
    """
    found = [tile for kind in _KINDS.values() for tile in kind(data)]
    for i, x in enumerate(clean):
        found.append(_tile("bands reversed", str(i), x[::-1]))
        found.append(_tile("one band twelve times", str(i), np.repeat(x[3:4], len(BANDS), axis=0)))
    return found


def _top_of_atmosphere(data: Path) -> Iterator[Foreign]:
    """L1C: what L2A was before the atmosphere was taken out."""
    offsets = _offsets(data)
    for path in sorted(data.glob("s2/*_l1c/*.tif")):
        x = _read(path)
        if len(x) != len(BANDS) + 1:
            continue
        x = np.delete(x, _CIRRUS, axis=0) - offsets.get(path.relative_to(data).as_posix(), 0.0)
        calibrates = any(name in path.stem for name in _CALIBRATING_L1C)
        yield _tile("L1C", path.stem, x, calibrates=calibrates)


def _radar(data: Path) -> Iterator[Foreign]:
    """Sentinel-1 VV and VH in dB, in hundredths, six times each."""
    for path in sorted(data.glob("s1/*/*.tif")):
        x = np.nan_to_num(_read(path), nan=-30.0) * 100 + 4000
        yield _tile("radar", path.stem, np.repeat(x, len(BANDS) // len(x), axis=0))


def _weather(data: Path) -> Iterator[Foreign]:
    """Temperatures of one field at twelve places, in tenths of a kelvin above 200 K."""
    import xarray as xr

    for path in sorted(data.glob("era5/*t850_global*.nc")):
        with xr.open_dataset(path, engine="netcdf4") as dataset:
            field = next(v for v in dataset.data_vars.values() if v.ndim >= 2).values
        field = np.asarray(field, np.float64).reshape(-1, *field.shape[-2:])[0]
        for i in range(4):
            parts = [
                field[120 * (b % 3) : 120 * (b % 3) + SIDE, 72 * (4 * i + b // 3) :][:, :SIDE]
                for b in range(len(BANDS))
            ]
            yield _tile("ERA5", f"{path.stem}-{i}", (np.stack(parts) - 200) * 10)


def _elevation(data: Path) -> Iterator[Foreign]:
    for path in sorted(data.glob("labels/majortom_dem/*.tif")):
        yield _tile("elevation", path.stem, np.repeat(_read(path), len(BANDS), axis=0))


def _land_cover(data: Path) -> Iterator[Foreign]:
    """Class numbers in thousands."""
    for path in sorted(data.glob("labels/majortom_lulc/*.tif")):
        yield _tile("land cover", path.stem, np.repeat(_read(path) * 1000, len(BANDS), axis=0))


def _white_noise(data: Path) -> Iterator[Foreign]:
    for i in range(6):
        rng = np.random.default_rng([i, 1])
        x = rng.uniform(0, rng.uniform(2000, 10000), (len(BANDS), SIDE, SIDE))
        yield _tile("white noise", str(i), x, calibrates=True)


def _smooth_noise(data: Path) -> Iterator[Foreign]:
    """Fields of a power spectrum like that of scenery, alike in no two bands."""
    for i in range(6):
        rng = np.random.default_rng([i, 2])
        frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
        shape = 1 / np.maximum(frequency, 1 / SIDE)
        noise = np.fft.rfft2(rng.normal(size=(len(BANDS), SIDE, SIDE))) * shape
        x = np.fft.irfft2(noise, s=(SIDE, SIDE))
        x /= x.std(axis=(1, 2), keepdims=True)
        yield _tile("1/f noise", str(i), 2000 + 500 * x)


def _gradients(data: Path) -> Iterator[Foreign]:
    """Smooth ramps and waves, as test patterns have them."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    for i in range(6):
        rng = np.random.default_rng([i, 3])
        waves = [np.sin(rng.normal(0, 12) * x + rng.normal(0, 12) * y) for _ in BANDS]
        yield _tile("test pattern", str(i), 2500 + 1500 * np.stack(waves))


_KINDS: Mapping[str, Callable[[Path], Iterator[Foreign]]] = MappingProxyType(
    {
        "L1C": _top_of_atmosphere,
        "white noise": _white_noise,
        "radar": _radar,
        "ERA5": _weather,
        "elevation": _elevation,
        "land cover": _land_cover,
        "1/f noise": _smooth_noise,
        "test pattern": _gradients,
    }
)


def _tile(kind: str, name: str, values: npt.NDArray[Any], *, calibrates: bool = False) -> Foreign:
    pixels = np.clip(np.rint(values.astype(np.float64)), -32768, 32767).astype(np.int16)
    return Foreign(kind=kind, name=name, pixels=pixels, calibrates=calibrates)


def _read(path: Path) -> FloatArray:
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return np.asarray(file.read(), np.float64)


def _offsets(data: Path) -> dict[str, float]:
    manifest = data / "manifest.json"
    if not manifest.is_file():
        return {}
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    return {f["path"]: float(f.get("offset_dn") or f.get("offset_dn_guess") or 0) for f in files}
