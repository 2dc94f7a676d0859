"""Reads the places that downstream models are fitted and measured on: pixels, labels, dates.

A place is measured only by models that have seen none of it. No place here is among the training places
of `s2-embed-small` (`openeo_nc/training/splits/s2-embed.json`), which the tests hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr

import openeo_nc
from openeo_nc.sentinel2 import BANDS

PATCH = 8
"""Pixels a side of a patch."""
NO_LABEL = 255
_SPLITS = Path(openeo_nc.__file__).parent / "training/splits"
_CLOUDY = ("Boadella_2020-01-18.tif", "Boadella_2020-01-23.tif")
_SIDE = 256

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Images of one place on one grid."""

    name: str
    """Of the place; parts of one place have one name."""
    files: tuple[str, ...]
    """Where it comes from, relative to the folder of data."""
    pixels: Array
    """`(t, 12, y, x)` float32, reflectance x 10000 without offset; NaN is no data, or a band that lacks."""
    labels: Array | None = None
    """`(t, y, x)` uint8 classes of pixels; 255 is none."""
    times: Array | None = None
    """Moments of the dates."""


def scenes(data: Path) -> list[Place]:
    """Places with the scene classification (SCL) of Sen2Cor as labels: five series or images at 10 or
    20 m, and one image at 60 m."""
    cubes = [
        _cube(data, f"s2/openeo_cubes/{n}.nc") for n in ("cdse_sentinel2_l2a", "test_optical_cube")
    ]
    return [_sample(data), *series(data), *cubes, _tile(data)]


def series(data: Path) -> list[Place]:
    """Two fields of WorldCereal over 16 months each, with SCL."""
    return [_worldcereal(data, site) for site in ("00002806639B424A", "000028085BF08E7E")]


def majortom(data: Path) -> list[Place]:
    """Three places of 224 x 224 pixels with land cover."""
    offsets = {
        str(entry["path"]): float(entry.get("offset_dn_guess", 0))
        for entry in json.loads((data / "manifest.json").read_text())["files"]
    }
    places = []
    for path in sorted((data / "s2/majortom_l2a").glob("*.tif")):
        file, labels = f"s2/majortom_l2a/{path.name}", f"labels/majortom_lulc/{path.name}"
        places.append(
            Place(
                name=path.stem,
                files=(file, labels),
                pixels=_image(path, offsets[file]),
                labels=_read(data / labels)[0],
            )
        )
    return places


def composites(data: Path) -> Place:
    """Monthly composites of a year without labels, 100 x 100 pixels, nine bands."""
    return _cube(data, "s2/openeo_cubes/worldcereal_inputs_s2_s1_agera5.nc")


def of_training(data: Path) -> list[Place]:
    """Clear dates of the places with several dates that the encoder was trained on: these only fit."""
    split = json.loads((_SPLITS / "s2-embed.json").read_text())
    found = []
    for entry in split["train"]:
        if entry.get("series"):
            files = [name for name in entry["files"] if not name.endswith(_CLOUDY)]
            images = [_image(data / name)[..., :_SIDE, :_SIDE] for name in files]
            found.append(
                Place(name=entry["place"], files=tuple(files), pixels=np.concatenate(images))
            )
    return found


def patches(labels: Array) -> Array:
    """Classes of patches: `(t, y, x)` of pixels to `(t, y / 8, x / 8)`.

    The class of most pixels if that is at least half of them, else 255; sides are cut to whole patches.
    """
    t, rows, columns = labels.shape[0], labels.shape[1] // PATCH, labels.shape[2] // PATCH
    cut = labels[:, : rows * PATCH, : columns * PATCH]
    blocks = (
        cut.reshape(t, rows, PATCH, columns, PATCH).swapaxes(2, 3).reshape(t, rows, columns, -1)
    )
    classes = [one for one in np.unique(blocks) if one != NO_LABEL]
    counts = np.stack([(blocks == one).sum(-1) for one in classes])
    most = np.asarray(classes, np.uint8)[counts.argmax(0)]
    return np.where(2 * counts.max(0) >= PATCH * PATCH, most, np.uint8(NO_LABEL))


def as_twelve(bands: Mapping[str, Array]) -> Array:
    """`(t, 12, y, x)` float32 of `(t, y, x)` a band; bands that lack are NaN."""
    shape = next(iter(bands.values())).shape
    lacking = np.full(shape, np.nan, np.float32)
    return np.stack([np.asarray(bands.get(name, lacking), np.float32) for name in BANDS], 1)


def _read(path: Path) -> tuple[Array, tuple[str, ...]]:
    with rasterio.open(path) as file:
        return file.read(), tuple(map(str, file.descriptions))


def _image(path: Path, offset: float = 0, names: Sequence[str] | None = None) -> Array:
    values, found = _read(path)
    numbers = np.where(values == 0, np.nan, values.astype(np.float32) - offset)
    return as_twelve({n: numbers[i][None] for i, n in enumerate(names or found) if n in BANDS})


def _sample(data: Path) -> Place:
    file = "s2/openeo_sample_l2a/S2_L2A_sample.tif"
    values, names = _read(data / file)
    return Place(
        name="south-tyrol",
        files=(file,),
        pixels=_image(data / file, names=names),
        labels=values[names.index("SCL")][None].astype(np.uint8),
    )


def _tile(data: Path) -> Place:
    file = "s2/t29unu_l2a_60m/T29UNU_20221005_north.tif"
    labels = "labels/t29unu_scl_60m/T29UNU_20221005_north_SCL.tif"
    return Place(
        name="T29UNU-60m",
        files=(file, labels),
        pixels=_image(data / file, offset=1000),
        labels=_read(data / labels)[0][:1],
    )


def _cube(data: Path, file: str) -> Place:
    with xr.open_dataset(data / file, mask_and_scale=False) as cube:
        bands = {str(n).removeprefix("S2-L2A-"): cube[n].values for n in cube.data_vars}
        times = cube.t.values
    labels = bands.get("SCL")
    return Place(
        name=Path(file).stem,
        files=(file,),
        pixels=as_twelve(
            {
                n: np.where(v <= 0, np.nan, v.astype(np.float32))
                for n, v in bands.items()
                if n in BANDS
            }
        ),
        labels=None if labels is None else labels.astype(np.uint8),
        times=times,
    )


def _worldcereal(data: Path, site: str) -> Place:
    bands: dict[str, Array] = {}
    files = sorted((data / "s2/worldcereal_ts").glob(f"*_{site}_*.nc"))
    for path in files:
        with xr.open_dataset(path, mask_and_scale=False) as cube:
            times = cube.timestamp.values
            for name in {*BANDS, "SCL"} & {*map(str, cube.data_vars)}:
                values = cube[name].values
                bands[name] = values if "_10m_" in path.name else values.repeat(2, 1).repeat(2, 2)
    return Place(
        name=f"worldcereal-{site}",
        files=tuple(f"s2/worldcereal_ts/{path.name}" for path in files),
        pixels=as_twelve(
            {
                n: np.where(v == 0, np.nan, v.astype(np.float32))
                for n, v in bands.items()
                if n in BANDS
            }
        ),
        labels=bands["SCL"],
        times=times,
    )
