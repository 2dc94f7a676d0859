"""Writes cubes as PNG pictures, one file a date: a band in grey, three in colour, or embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import Affine

from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, labels, nodata_of
from openeo_nc.cubes.embedding_picture import rgb
from openeo_nc.cubes.geotiff import date_names
from openeo_nc.cubes.growing import Growth, grown
from openeo_nc.cubes.ledger import fingerprint, keep_file, known
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.strips import Array, prepared, strips
from openeo_nc.errors import FormatUnsuitableError, InvalidParameterError

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed

    from openeo_nc.cubes.ledger import Written

LARGEST = 16_384
"""Pixels of a side; a picture lies in memory whole."""
TRUE_COLOUR = ("B04", "B03", "B02")
"""Bands that are shown of a cube with more than three, if it has them."""
PERCENTILES = (2.0, 98.0)
"""Of a date's values, shown black and white where no range is given."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How numbers become colours."""

    shape: tuple[int, int, int]
    """Bands, rows, columns; one band is grey, three are red, green and blue."""
    dtype: str
    """Of the cube."""
    nodata: float | None
    """Value that is transparent, as NaN and infinity are."""
    low: float | None
    """Value shown black; None is the date's own lower percentile."""
    high: float | None
    """Value shown white."""


def plan_png(
    cube: xr.DataArray, outputs: Outputs, name: str, *, bands: tuple[str, ...] = (),
    low: float | None = None, high: float | None = None,
) -> Delayed:  # fmt: skip
    """A task that writes `<name>_<date>.png` for each date (`<name>.png` for none); gives `Saved`.

    8 bits a channel, with transparency; without a place on Earth, which PNG has no field for. Of an
    embedding cube a pixel is a patch, and its colour `embedding_picture.rgb`.

    Parameters
    ----------
    bands
        One label for grey, or three for red, green and blue. By default all of a cube that has one
        or three, else `TRUE_COLOUR`, and the principal components of embeddings.
    low, high
        Values shown black and white, in the cube's units; a missing one is each date's own 2nd or
        98th percentile over the bands that are shown.

    Raises
    ------
    DimensionMissingError, CRSMissingError, NoDataAvailableError, FormatUnsuitableError,
    InvalidParameterError
    """
    if low is not None and high is not None and low >= high:
        raise InvalidParameterError(f"min is less than max; given {low:g} and {high:g}.")
    named = T in cube.dims
    cube, dim = prepared(cube, "PNG")
    if dim == EMBEDDING and bands:
        cube = cube.rename({EMBEDDING: BANDS})
    elif dim == EMBEDDING:
        if (low, high) != (None, None):
            raise InvalidParameterError(
                "min and max are of bands; name dimensions of the embedding as red, green and blue, "
                "or as gray."
            )
        cube, low, high = rgb(cube), 0.0, 255.0
    if max(cube.sizes[X], cube.sizes[Y]) > LARGEST:
        raise FormatUnsuitableError(
            f"PNG holds at most {LARGEST} x {LARGEST} pixels here, the cube has {cube.sizes[X]} x "
            f"{cube.sizes[Y]}; use resample_spatial or filter_bbox first."
        )
    cube = cube.isel({BANDS: _shown(labels(cube, BANDS), bands)})
    cube = cube.chunk({BANDS: -1})
    picture = Picture(
        shape=(cube.sizes[BANDS], cube.sizes[Y], cube.sizes[X]),
        dtype=cube.dtype.name, nodata=nodata_of(cube), low=low, high=high,
    )  # fmt: skip
    mark = fingerprint(picture)
    written = []
    tasks, dates = strips(cube)
    for moment, date in zip(date_names(cube) if named else [""], dates, strict=True):
        path = outputs.folder / (f"{name}_{moment}.png" if moment else f"{name}.png")
        if (found := known(outputs.ledger, path.name, mark).get(path.name)) is not None:
            written.append(tasks.add("keep", keep_file, found, path, place=(path.name,)))
            continue
        growth = Growth(
            create=partial(_create, picture=picture), finish=partial(_finish, picture=picture)
        )
        fillings = [(partial(_write, row=strip.row), strip.blocks) for strip in date]
        written.append(grown(tasks, outputs, path, mark, growth, fillings))
    plan = tasks.add("saved", _saved, written)
    outputs.objects += map(tasks.delayed, written)
    return tasks.delayed(plan)


def rendered(values: Array, picture: Picture) -> npt.NDArray[np.uint8]:
    """`(bands, rows, columns)` values as `(bands + 1, rows, columns)` colours, the last transparency."""
    valid = np.isfinite(values)
    if picture.nodata is not None and np.isfinite(picture.nodata):
        valid &= values != picture.nodata
    seen = valid.all(axis=0)
    low, high = picture.low, picture.high
    if low is None or high is None:
        shown = values[:, seen]
        lower, upper = np.percentile(shown, PERCENTILES) if shown.size else (0.0, 1.0)
        low, high = float(lower) if low is None else low, float(upper) if high is None else high
    span = max(high - low, float(np.finfo(np.float32).tiny))
    colours = np.empty((len(values) + 1, *seen.shape), np.uint8)
    for colour, band in zip(colours, values, strict=False):
        share = np.clip((np.where(seen, band, low).astype(np.float32) - low) / span, 0, 1)
        colour[...] = np.rint(share * 255)
    colours[-1] = np.where(seen, 255, 0)
    return colours


def _shown(names: tuple[str, ...], asked: tuple[str, ...]) -> list[int]:
    """Which bands of a cube are shown."""
    chosen = asked or (names if len(names) in (1, 3) else TRUE_COLOUR)
    if missing := [name for name in chosen if name not in names]:
        told = "has no band" if asked else "shows one band or three: name them, the cube has no"
        raise FormatUnsuitableError(f"PNG {told} {', '.join(missing)}; it has {', '.join(names)}.")
    return [names.index(name) for name in chosen]


def _create(part: Path, *, picture: Picture) -> None:
    np.lib.format.open_memmap(part, mode="w+", dtype=np.dtype(picture.dtype), shape=picture.shape)


def _write(part: Path, values: Array, *, row: int) -> None:
    np.lib.format.open_memmap(part, mode="r+")[:, row : row + values.shape[1]] = values


def _finish(part: Path, final: Path, *, picture: Picture) -> None:
    colours = rendered(np.lib.format.open_memmap(part, mode="r"), picture)
    count, height, width = colours.shape
    # a transform, which PNG does not keep: without one rasterio warns
    profile = {"driver": "PNG", "dtype": "uint8", "count": count, "height": height, "width": width,
               "transform": Affine(1, 0, 0, 0, -1, height)}  # fmt: skip
    with rasterio.Env(GDAL_PAM_ENABLED=False), rasterio.open(final, "w", **profile) as file:
        file.write(colours)


def _saved(written: list[Written]) -> Saved:
    paths = tuple(file.places[0] for file in written)
    total = sum(file.bytes for file in written)
    return Saved(path=paths[0], format="PNG", files=paths, bytes=total)
