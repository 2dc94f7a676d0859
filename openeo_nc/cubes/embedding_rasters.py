"""Opens rasters of embeddings that others wrote: AlphaEarth's COGs, TESSERA's tiles, our own COGs.

Only headers are read while a cube is built; a task reads a window, turned north-up, and gives
float32 vectors.

AlphaEarth (developers.google.com/earth-engine/guides/aef_on_gcs_readme, source.coop/tge-labs/aef):
64 bands A00..A63 int8, -128 no data, `((v / 127.5) ** 2) * sign(v)`; rows may run from south to
north. TESSERA (geotessera's documentation): `grid_<lon>_<lat>.npy` `(y, x, 128)` int8, beside it
`..._scales.npy` `(y, x)` or `(y, x, 128)` float32, and a landmask `grid_<lon>_<lat>.tiff` that has
CRS and transform.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
import xarray as xr
from rasterio.windows import Window

from openeo_nc.cubes.dims import EMBEDDING, T, X, Y
from openeo_nc.cubes.embedding_codes import QUANTIZATION, dequantised, of_text, text_of
from openeo_nc.cubes.embedding_cog import ATTRIBUTES, LABELS, SCALE_FILE, TAG
from openeo_nc.cubes.remote_file import Source
from openeo_nc.errors import AssetMissingError, FormatUnsuitableError
from openeo_nc.models.quantisation import NODATA, quantiser

Array = npt.NDArray[Any]
ALPHAEARTH = 64
"""Bands of AlphaEarth."""
_SIDE = 256
_ROWS = 64
"""Of a NumPy file, whose rows lie together, a block is so many whole ones."""


class WindowReader(Protocol):
    """Reads a window as vectors; carried to workers."""

    def __call__(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """`(dim, rows, columns)` float32, rows from north to south."""
        ...


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A raster's place: north-up, whatever order its rows have in the file."""

    crs: Any
    """rasterio's CRS."""
    left: float
    """Outer edge."""
    top: float
    """Outer edge."""
    size: tuple[float, float]
    """Width and height of a pixel."""
    shape: tuple[int, int]
    """Rows and columns."""

    @classmethod
    def of(cls, file: Any) -> Grid:
        """That of an open raster."""
        own = file.transform
        if own.b or own.d or own.a <= 0:
            raise FormatUnsuitableError(f"{file.name} is rotated or mirrored.")
        top = own.f if own.e < 0 else own.f + own.e * file.height
        return cls(
            crs=file.crs, left=own.c, top=top, size=(own.a, abs(own.e)),
            shape=(file.height, file.width),
        )  # fmt: skip


def open_raster(href: str, moment: pd.Timestamp | None = None) -> xr.DataArray:
    """The cube of a GeoTIFF of embeddings, float32 (lazy).

    Ours are told by their tag, AlphaEarth's by 64 bands of int8; others are vectors as they are.

    Raises
    ------
    AssetMissingError, FormatUnsuitableError
    """
    try:
        with rasterio.open(href) as file:
            grid, tags, dtypes = Grid.of(file), file.tags(), set(file.dtypes)
            names = [d or f"e{i:03d}" for i, d in enumerate(file.descriptions)]
            upward, count = file.transform.e > 0, file.count
    except rasterio.errors.RasterioError as error:
        raise AssetMissingError(f"{href} cannot be opened as a raster: {error}") from error
    attrs: dict[str, Any] = {}
    scales = None
    if TAG in tags:
        document = tags[TAG]
        chosen = of_text(document)
        names = tags[LABELS].split(",")
        attrs = json.loads(tags.get(ATTRIBUTES, "{}"))
        scales = _scale_file(href, tags.get("datetime")) if chosen.scaled else None
    elif dtypes == {"int8"} and count == ALPHAEARTH:
        document = text_of(quantiser("int8_power", dim=count))
        names = [f"A{i:02d}" for i in range(count)]
        attrs = {"emb:type": "pixel", "nc:stride": 1, "nc:model": '{"id": "alphaearth"}'}
    elif len(dtypes) == 1 and np.dtype(next(iter(dtypes))).kind == "f":
        document = text_of(quantiser("float32", dim=count))
    else:
        raise FormatUnsuitableError(
            f"{href} has {count} bands of {', '.join(sorted(dtypes))} and no tag {TAG}; embeddings "
            "are read of files of this software, of 64 bands of int8 (AlphaEarth) or of floats."
        )
    attrs |= {"emb:dimensions": len(names), QUANTIZATION: document}
    read = partial(_raster_window, href, scales, upward, document)
    if moment is None:
        moment = pd.Timestamp(tags["datetime"]) if "datetime" in tags else year_of(href)
    return lazily(read, grid, names, attrs, moment)


def open_tile(
    tile: Source, moment: pd.Timestamp | None = None, landmask: str | None = None
) -> xr.DataArray:
    """The cube of a TESSERA tile, float32 (lazy).

    Parameters
    ----------
    tile
        `grid_<lon>_<lat>.npy`.
    moment
        Its date; default 1 January of the year that the path names.
    landmask
        Of its landmask; default is looked for beside it and where geotessera puts it.

    Raises
    ------
    AssetMissingError
    """
    href = tile.href
    masks = [landmask] if landmask else _landmasks(href)
    mask = next((m for m in masks if replace(tile, href=m).exists()), None)
    if mask is None:
        raise AssetMissingError(
            f"{href} has no place of its own: its landmask is in none of {', '.join(masks)}."
        )
    scales = replace(tile, href=f"{href[:-4]}_scales.npy")
    if not scales.exists():
        raise AssetMissingError(f"{href} has no scales: {scales.href} is not there.")
    with rasterio.open(mask) as file:
        grid = Grid.of(file)
    shape, dtype = _header(tile)
    if len(shape) != 3 or shape[:2] != grid.shape or dtype != np.int8:
        raise FormatUnsuitableError(
            f"{href} is {dtype} {shape}; expected int8 {(*grid.shape, 'values')} as its landmask."
        )
    attrs = {
        "emb:type": "pixel",
        "emb:dimensions": shape[2],
        "nc:stride": 1,
        "nc:model": '{"id": "tessera"}',
        QUANTIZATION: text_of(quantiser("int8", dim=shape[2])),
    }
    names = [f"band_{i}" for i in range(shape[2])]
    read = partial(_tile_window, tile, scales)
    when = year_of(href) if moment is None else moment
    return lazily(read, grid, names, attrs, when, block=(_ROWS, shape[1]))


def lazily(
    read: WindowReader, grid: Grid, names: Sequence[str], attrs: dict[str, Any],
    moment: pd.Timestamp | None, block: tuple[int, int] = (_SIDE, _SIDE),
) -> xr.DataArray:  # fmt: skip
    """The cube `(t, embedding, y, x)` of what a reader gives; without t if the moment is unknown."""
    sides = tuple(
        tuple(min(side, n - start) for start in range(0, n, side))
        for n, side in zip(grid.shape, block, strict=True)
    )
    data = da.map_blocks(
        _block, read=read, chunks=((len(names),), *sides), dtype=np.dtype(np.float32),
        meta=np.empty((0,) * 3, np.float32),
    )  # fmt: skip
    cube = xr.DataArray(
        data,
        dims=(EMBEDDING, Y, X),
        coords={
            EMBEDDING: list(names),
            Y: grid.top - grid.size[1] * (np.arange(grid.shape[0]) + 0.5),
            X: grid.left + grid.size[0] * (np.arange(grid.shape[1]) + 0.5),
        },
        name=EMBEDDING,
        attrs=attrs,
    )
    if moment is not None:
        stamp = moment.tz_convert(None) if moment.tzinfo else moment
        cube = cube.expand_dims({T: [stamp.to_datetime64().astype("datetime64[ns]")]})
    placed: xr.DataArray = cube.rio.write_crs(grid.crs).rio.write_transform()
    return placed


def year_of(href: str) -> pd.Timestamp | None:
    """1 January of the year that a folder of the path is named by, as annual products have it."""
    years = [p for p in re.split(r"[/\\]", href)[:-1] if re.fullmatch(r"(?:19|20)\d\d", p)]
    return pd.Timestamp(f"{years[-1]}-01-01") if years else None


def _block(*, read: WindowReader, block_info: Any = None) -> npt.NDArray[np.float32]:
    (_, rows, columns) = block_info[None]["array-location"]
    return read(slice(*rows), slice(*columns))


def _raster_window(
    href: str, scales: str | None, upward: bool, document: str, rows: slice, columns: slice
) -> npt.NDArray[np.float32]:
    values = _window(href, upward, rows, columns)[None]
    scale = None if scales is None else _window(scales, upward, rows, columns)
    vectors: npt.NDArray[np.float32] = dequantised(values, scale, of_text(document))[0]
    return vectors


def _window(href: str, upward: bool, rows: slice, columns: slice) -> Array:
    """`(bands, rows, columns)` of a file, north-up; no data of floats is NaN, codes are as they are."""
    with rasterio.open(href) as file:
        first = file.height - rows.stop if upward else rows.start
        height, width = rows.stop - rows.start, columns.stop - columns.start
        values: Array = file.read(window=Window(columns.start, first, width, height))
        if values.dtype.kind == "f" and file.nodata is not None:
            values[values == file.nodata] = np.nan
    return values[:, ::-1] if upward else values


def _scale_file(href: str, moment: str | None) -> str:
    """Where the scales of one of our files lie."""
    folder, _, name = href.rpartition("/")
    stem = name.removesuffix(".tif")
    tail = f"_{moment}" if moment and stem.endswith(f"_{moment}") else ""
    scales = f"{stem.removesuffix(tail) if tail else stem}{SCALE_FILE}{tail}.tif"
    return f"{folder}/{scales}" if folder else scales


def _tile_window(
    tile: Source, scales: Source, rows: slice, columns: slice
) -> npt.NDArray[np.float32]:
    values, factor = (_rows(source, rows)[:, columns] for source in (tile, scales))
    factor = factor[..., None] if factor.ndim == 2 else factor
    vectors = values.astype(np.float32) * np.where(np.isfinite(factor), factor, np.nan)
    vectors[(values == NODATA).all(-1)] = np.nan
    return np.ascontiguousarray(vectors.transpose(2, 0, 1), np.float32)


def _rows(source: Source, rows: slice) -> Array:
    """Rows of an array in a NumPy file; of one in C order no others are fetched."""
    with source.open() as file:
        shape, fortran, dtype = _head(source, file)
        if fortran:
            file.seek(0)
            return np.asarray(np.load(file, allow_pickle=False)[rows])
        row = math.prod(shape[1:]) * dtype.itemsize
        file.seek(rows.start * row, io.SEEK_CUR)
        data = file.read((rows.stop - rows.start) * row)
    return np.frombuffer(data, dtype).reshape(-1, *shape[1:])


def _header(source: Source) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a NumPy file."""
    try:
        with source.open() as file:
            shape, _, dtype = _head(source, file)
            return shape, dtype
    except OSError as error:
        raise AssetMissingError(
            f"{source.href} cannot be opened as a NumPy file: {error}"
        ) from error


def _head(source: Source, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order (true: Fortran's) and dtype of an open NumPy file, which is left at its data."""
    try:
        version = np.lib.format.read_magic(file)
        one = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise AssetMissingError(f"{source.href} is no NumPy file: {error}") from error
    if dtype.hasobject:
        raise FormatUnsuitableError(f"{source.href} holds Python objects, which are not loaded.")
    return shape, fortran, dtype


def _landmasks(href: str) -> list[str]:
    stem = href.removesuffix(".npy")
    name = PurePosixPath(stem).name
    found = [f"{stem}.tiff", f"{stem}.tif"]
    folder = href
    for _ in range(4):
        folder = folder.rpartition("/")[0]
        found += [f"{folder}/{sub}/{name}.tiff" for sub in
                  ("landmasks", "global_0.1_degree_tiff_all")]  # fmt: skip
    return found
