"""decode_cube: an embedding cube back to pixels, or a typed error that says why it cannot be.

Two ways lead back. While the embedding still carries the payloads it was made with (perhaps
filtered by date or by whole tiles), each tile is decoded from its payload, once its values are
seen to be those of the payload; no data is then exact to the pixel. An embedding that comes
without payloads is put back on the quantiser's lattice; of no data only whole patches are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from openeo_nc.codecs import registry
from openeo_nc.cubes.coding import Form
from openeo_nc.cubes.dims import (
    BANDS,
    EMBEDDING,
    LATENT,
    RASTER,
    T,
    X,
    Y,
    crs_of,
    in_order,
    labels,
    lazy,
    require,
)
from openeo_nc.cubes.grid import TileGrid, Window, centres, resolution_of
from openeo_nc.cubes.payloads import Payloads, origin_of, payloads_of
from openeo_nc.cubes.rates import check_quality
from openeo_nc.cubes.scaling import SCALE, factor
from openeo_nc.cubes.tasks import Lattice, decode_compared, decode_tiles, synthesise_tiles
from openeo_nc.errors import (
    BandMismatchError,
    CodecNotFoundError,
    EmbeddingChangedError,
    EmbeddingMisalignedError,
    EmbeddingNotDecodableError,
    GridMismatchError,
)
from openeo_nc.inference.spec import CodecSpec
from openeo_nc.models.layout import labels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openeo_nc.codecs.base import CodecCard

NEEDED = ("nc:codec", "nc:quality", "nc:step", "nc:stride", "nc:tile", "nc:grid", "nc:bands",
          "nc:source_dtype", "nc:dtype")  # fmt: skip
"""Attributes without which an embedding has no decoder."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What an embedding's attributes and coordinates tell about the pixels it came from."""

    card: CodecCard
    """Card of the codec that decodes it."""
    grid: TileGrid
    """Grid of the pixels."""
    window: Window
    """Whole tiles of the embedding."""
    bands: tuple[str, ...]
    """Labels of the bands."""
    form: Form
    """The raster cube's side of it."""
    lattice: Lattice
    """The embedding's side of it."""


def decode_cube(embedding: xr.DataArray, bands: Sequence[str] | None = None) -> xr.DataArray:
    """The raster cube `(t, bands, y, x)` that an embedding cube decodes to (lazy).

    Parameters
    ----------
    embedding
        `(t, embedding, y, x)` as `encode_cube` gives it: whole tiles, any of its dates.
    bands
        Labels to keep, in this order; default all.

    Raises
    ------
    EmbeddingNotDecodableError
        The cube says of no codec that is at hand that it encoded it.
    EmbeddingMisalignedError
        It was cropped or resampled off the grid of whole tiles.
    EmbeddingChangedError
        It lacks channels; or, when computed, its values are not those that were encoded.
    BandMismatchError
        A band is asked for that was not encoded.
    DimensionMissingError, CRSMissingError
    """
    source = _source(embedding)
    wanted = _wanted(source, bands)
    cube = embedding if T in embedding.dims else embedding.expand_dims(T)
    cube = lazy(in_order(cube, LATENT))
    raster = _raster(cube, _pixels(embedding, cube, source), source)
    raster = _cropped(raster, embedding.attrs.get("nc:bounds"), source.grid)
    if wanted != source.bands:
        raster = raster.sel({BANDS: list(wanted)})
    return raster if T in embedding.dims else raster.isel({T: 0}, drop=T not in embedding.coords)


def _source(embedding: xr.DataArray) -> Source:
    attrs = embedding.attrs
    if missing := [name for name in NEEDED if name not in attrs]:
        raise EmbeddingNotDecodableError(
            f"The cube is no embedding with a decoder: it lacks {', '.join(missing)}. "
            "Only what encode_embedding gave, or a store of it, can be decoded."
        )
    card = _card(attrs)
    require(embedding, EMBEDDING)
    channels = tuple(labels_of(card.latent_channels or 0))
    if labels(embedding, EMBEDDING) != channels:
        raise EmbeddingChangedError(
            f"'{card.codec_id}' decodes all {len(channels)} channels in order; the embedding has "
            f"{embedding.sizes[EMBEDDING]}, or they were renamed or put in another order."
        )
    grid, window = pixel_grid(embedding, card)
    try:
        bands, form, lattice = _sides(embedding, card)
    except (TypeError, ValueError) as error:
        raise EmbeddingNotDecodableError(
            f"The embedding's attributes are not those that encode_embedding wrote: {error}"
        ) from error
    return Source(card=card, grid=grid, window=window, bands=bands, form=form, lattice=lattice)


def _sides(embedding: xr.DataArray, card: CodecCard) -> tuple[tuple[str, ...], Form, Lattice]:
    """Bands, pixel side and latent side as attributes tell; ValueError, TypeError if they cannot."""
    attrs = embedding.attrs
    nodata = None if attrs.get("nc:nodata") is None else float(attrs["nc:nodata"])
    dtypes = str(attrs["nc:source_dtype"]), str(attrs["nc:dtype"])
    dtype, payload_dtype = map(np.dtype, dtypes)
    bands = tuple(map(str, np.atleast_1d(attrs["nc:bands"])))
    if dtype.kind not in "iuf" or payload_dtype.name not in card.dtypes:
        raise ValueError(f"nc:source_dtype and nc:dtype are {dtypes}")
    if not bands or (card.bands or bands) != bands:
        raise ValueError(f"nc:bands are {', '.join(bands)}")
    form = Form(
        bands=len(bands),
        tile=card.tile,
        dtype=dtype,
        ratio=factor(embedding, card),
        nodata=nodata if dtype.kind in "iu" else None,
    )
    lattice = Lattice(
        stride=card.stride,
        step=float(attrs["nc:step"]),
        quality=check_quality(card, float(attrs["nc:quality"])),
        dtype=payload_dtype,
        nodata=nodata if payload_dtype.kind in "iu" else None,
    )
    if not (math.isfinite(lattice.step) and lattice.step > 0):
        raise ValueError(f"nc:step is {lattice.step}")
    return bands, form, lattice


def _card(attrs: dict[str, Any]) -> CodecCard:
    """The codec's card here; its weights and its stride must be those of the embedding."""
    try:
        card = registry.get_card(str(attrs["nc:codec"]))
    except CodecNotFoundError as error:
        raise EmbeddingNotDecodableError(
            f"The embedding's codec is not at hand: {error}"
        ) from error
    stated = attrs.get("nc:weights_sha256")
    if stated != card.weights_sha256:
        raise EmbeddingNotDecodableError(
            f"The embedding was made with weights {stated} of '{card.codec_id}'; "
            f"here it has {card.weights_sha256}."
        )
    if (card.stride, card.tile) != (int(attrs["nc:stride"]), int(attrs["nc:tile"])):
        raise EmbeddingNotDecodableError(
            f"'{card.codec_id}' has stride {card.stride} and tile {card.tile}; the embedding says "
            f"{attrs['nc:stride']} and {attrs['nc:tile']}."
        )
    return card


def pixel_grid(embedding: xr.DataArray, card: CodecCard) -> tuple[TileGrid, Window]:
    """Grid of the pixels and the embedding's tiles on it; patches stand for `stride` pixels.

    Raises
    ------
    EmbeddingMisalignedError
        The embedding is not whole tiles of the grid that it says it lies on.
    """
    try:
        patches = TileGrid.of(embedding, card.tile // card.stride)
        res_x, res_y = resolution_of(embedding)
    except GridMismatchError as error:
        raise EmbeddingMisalignedError(f"The embedding is off its patch grid: {error}") from error
    left = float(embedding[X].values[0]) - res_x / 2
    top = float(embedding[Y].values[0]) + res_y / 2
    pixel = (res_x / card.stride, res_y / card.stride)
    grid = TileGrid.at(crs_of(embedding), pixel, (left, top), card.tile)
    window = patches.window(embedding)
    if grid.id != embedding.attrs["nc:grid"]:
        raise EmbeddingMisalignedError(
            f"The embedding lies on the grid {grid.id}, not on {embedding.attrs['nc:grid']} where "
            "it was encoded: it was resampled, or cropped off its patch grid."
        )
    if not window.whole:
        raise EmbeddingMisalignedError(
            f"The embedding covers parts of tiles: {window.pad_left}, {window.pad_top}, "
            f"{window.pad_right} and {window.pad_bottom} patches are missing left, top, right and "
            f"bottom to whole tiles of {card.tile // card.stride} patches. Crop after decoding."
        )
    return grid, window


def _pixels(embedding: xr.DataArray, cube: xr.DataArray, source: Source) -> da.Array:
    """Pixels `(t, bands, y, x)` of whole tiles."""
    if (payloads := payloads_of(embedding)) is not None:
        return decode_tiles(payloads.blocks, payloads.spec, source.form)
    side = source.card.tile // source.card.stride
    given = cube.data.rechunk({0: 1, 1: -1, 2: side, 3: side})
    origin = origin_of(embedding)
    blocks = None if origin is None else _same_tiles(origin, cube, source)
    if origin is not None and blocks is not None:
        return decode_compared(blocks, given, origin.spec, source.form, source.lattice)
    return synthesise_tiles(given, CodecSpec.of(source.card), source.form, source.lattice)


def _same_tiles(origin: Payloads, cube: xr.DataArray, source: Source) -> da.Array | None:
    """The payloads of the cube's own dates and tiles, or None if they are not among the origin's."""
    if origin.kind != "latents" or origin.grid.id != source.grid.id or origin.times is None:
        return None
    times = list(cube[T].values) if T in cube.coords else []
    known = {time: index for index, time in enumerate(origin.times)}
    rows, columns = source.window.j0 - origin.window.j0, source.window.i0 - origin.window.i0
    inside = (
        0 <= rows <= origin.window.nj - source.window.nj
        and 0 <= columns <= origin.window.ni - source.window.ni
    )
    if not inside or len(times) != cube.sizes[T] or not all(time in known for time in times):
        return None
    tiles = origin.blocks[:, rows : rows + source.window.nj, columns : columns + source.window.ni]
    chosen: da.Array = da.concatenate([tiles[known[time]][None] for time in times])
    return chosen


def _raster(cube: xr.DataArray, pixels: da.Array, source: Source) -> xr.DataArray:
    grid, window, tile = source.grid, source.window, source.card.tile
    left, _, _, top = grid.bounds(window.i0 * tile, window.j0 * tile, 1, 1)
    coords: dict[str, Any] = {
        BANDS: list(source.bands),
        Y: centres(top, -grid.res_y, window.nj * tile),
        X: centres(left, grid.res_x, window.ni * tile),
    }
    if T in cube.coords:
        coords[T] = cube[T]
    attrs = {SCALE: cube.attrs[SCALE]} if SCALE in cube.attrs else {}
    if source.form.nodata is not None:
        attrs["_FillValue"] = int(source.form.nodata)
    raster = xr.DataArray(pixels, dims=RASTER, coords=coords, attrs=attrs)
    return raster.rio.write_crs(crs_of(cube)).rio.write_transform()  # type: ignore[no-any-return]


def _cropped(raster: xr.DataArray, bounds: Any, grid: TileGrid) -> xr.DataArray:
    """The part inside the bounds of what was encoded; all of it if they are not known."""
    if bounds is None:
        return raster
    left, bottom, right, top = map(float, bounds)
    x, y = raster[X].values, raster[Y].values
    inside_x = np.flatnonzero((x > left) & (x < right))
    inside_y = np.flatnonzero((y > bottom) & (y < top))
    if inside_x.size == 0 or inside_y.size == 0:
        raise EmbeddingMisalignedError(
            f"The embedding lies outside of the bounds {bounds} that were encoded."
        )
    cropped = raster.isel(
        {
            X: slice(int(inside_x[0]), int(inside_x[-1]) + 1),
            Y: slice(int(inside_y[0]), int(inside_y[-1]) + 1),
        }
    )
    return cropped.rio.write_transform()  # type: ignore[no-any-return]


def _wanted(source: Source, bands: Sequence[str] | None) -> tuple[str, ...]:
    if bands is None:
        return source.bands
    wanted = tuple(map(str, bands))
    if unknown := [band for band in wanted if band not in source.bands]:
        raise BandMismatchError(
            f"The embedding has no band {', '.join(unknown)}; it encodes {', '.join(source.bands)}."
        )
    return wanted
