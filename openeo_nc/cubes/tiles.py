"""Cuts a cube into the whole tiles that a codec takes, in the codec's numbers; computes nothing.

cube (any of t, bands left out) -> card and spec -> card numbers -> padded to whole tiles
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openeo_nc.codecs import registry
from openeo_nc.cubes.dims import (
    BANDS,
    RASTER,
    T,
    X,
    Y,
    crs_of,
    fill_value,
    in_order,
    labels,
    require,
)
from openeo_nc.cubes.grid import Bounds, TileGrid, Window, pad_to_tiles, resolution_of
from openeo_nc.cubes.payloads import Payloads
from openeo_nc.cubes.scaling import factor, to_card
from openeo_nc.errors import BandMismatchError, InvalidParameterError, NoDataAvailableError
from openeo_nc.inference.spec import CodecSpec

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard

QUALITY_STEPS = 256
"""Payloads hold quality in steps of 1/256."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """A cube as whole tiles of one codec, one a chunk."""

    cube: xr.DataArray
    """The cube as `(t, bands, y, x)`, before anything was changed."""
    padded: xr.DataArray
    """`(t, bands, y, x)` in the card's numbers, whole tiles."""
    card: CodecCard
    """Card of the codec."""
    spec: CodecSpec
    """What workers open it by."""
    quality: float
    """Quality as payloads store it."""
    grid: TileGrid
    """Grid of the pixels."""
    window: Window
    """The cube's tiles on it."""
    bands: tuple[str, ...]
    """Labels of the bands."""
    nodata: float | None
    """Value of no data in integer tiles; None for floats (NaN)."""
    ratio: float
    """Card number = cube number * ratio."""

    @property
    def source(self) -> da.Array:
        """The tiles, `(t, bands, y, x)`, chunks `(1, bands, tile, tile)`."""
        data: da.Array = self.padded.data
        return data

    @property
    def bounds(self) -> Bounds:
        """Bounds of the cube, before it was widened."""
        res_x, res_y = resolution_of(self.cube)
        left = float(self.cube[X].values[0]) - res_x / 2
        top = float(self.cube[Y].values[0]) + res_y / 2
        return (
            left, top - res_y * self.cube.sizes[Y], left + res_x * self.cube.sizes[X], top
        )  # fmt: skip

    def payloads(self, blocks: da.Array, kind: Literal["pixels", "latents"]) -> Payloads:
        """The record of these tiles once they are coded in `blocks`."""
        return Payloads(
            blocks=blocks,
            card=self.card,
            spec=self.spec,
            quality=self.quality,
            grid=self.grid,
            window=self.window,
            bands=self.bands,
            dtype=self.source.dtype,
            nodata=self.nodata,
            kind=kind,
            scale_factor=1.0 / self.ratio,
            times=tuple(self.cube[T].values) if T in self.cube.coords else None,
            source=self.source,
        )


def cut(
    cube: xr.DataArray, codec: str, quality: float | None = None, scale: float | None = None
) -> Tiles:
    """The tiles of a cube for a codec id or `auto`.

    Raises
    ------
    DimensionMissingError, CRSMissingError, NoDataAvailableError, GridMismatchError
        From the cube's dimensions and coordinates.
    CodecNotFoundError, BandMismatchError, DataTypeUnsupportedError, InvalidParameterError
        From what the codec takes.
    """
    raster = complete(cube)
    bands = labels(raster)
    card = registry.choose(codec, bands)
    check_bands(card, bands)
    numbers = to_card(raster, card, scale)
    grid = TileGrid.of(raster, card.tile)
    padded = pad_to_tiles(numbers, card.tile)
    # stated for integers even where nothing is padded: a payload does not depend on the request
    nodata = fill_value(padded) if np.issubdtype(padded.dtype, np.integer) else None
    return Tiles(
        cube=raster,
        padded=padded,
        card=card,
        spec=CodecSpec.of(card),
        quality=check_quality(card, quality),
        grid=grid,
        window=grid.window(raster),
        bands=bands,
        nodata=nodata,
        ratio=factor(raster, card, scale),
    )


def complete(cube: xr.DataArray) -> xr.DataArray:
    """The cube as `(t, bands, y, x)`; t and bands are added, of length 1, where it lacks them."""
    require(cube, Y, X)
    crs_of(cube)
    for dim in (T, BANDS):
        if dim not in cube.dims:
            cube = cube.expand_dims(dim)
    if empty := [str(dim) for dim, size in cube.sizes.items() if size == 0]:
        raise NoDataAvailableError(f"The cube is empty: {', '.join(empty)} has no labels.")
    return in_order(cube, RASTER)


def check_bands(card: CodecCard, bands: tuple[str, ...]) -> None:
    """Raise BandMismatchError unless the codec takes these bands in this order."""
    if card.bands is None or card.bands == bands:
        return
    if sorted(card.bands) == sorted(bands):
        what = "has the right bands in another order"
    else:
        unknown = [band for band in bands if band not in card.bands]
        missing = [band for band in card.bands if band not in bands]
        parts = [("has bands the codec does not know", unknown), ("lacks", missing)]
        what = " and ".join(f"{text}: {', '.join(names)}" for text, names in parts if names)
    raise BandMismatchError(
        f"The cube {what or 'repeats bands'}. '{card.codec_id}' takes {', '.join(card.bands)} "
        f"in this order; given {', '.join(bands)}. filter_bands selects and orders; "
        "the codec 'klt-dct' takes any bands."
    )


def check_quality(card: CodecCard, quality: float | None) -> float:
    """The quality in the steps that payloads hold; InvalidParameterError outside the card's range."""
    low, high, default = card.quality
    if quality is None:
        return float(default)
    if isinstance(quality, bool) or not isinstance(quality, int | float | np.number):
        raise InvalidParameterError(f"quality must be a number; given {quality!r}.")
    if not low <= quality <= high:
        raise InvalidParameterError(
            f"quality of '{card.codec_id}' goes from {low:g} to {high:g}; given {quality:g}."
        )
    return round(float(quality) * QUALITY_STEPS) / QUALITY_STEPS


def provenance(tiles: Tiles) -> dict[str, Any]:
    """The `nc:` attributes of what was coded: codec, weights, quality and grid."""
    attrs: dict[str, Any] = {
        "nc:codec": tiles.card.codec_id,
        "nc:quality": tiles.quality,
        "nc:tile": tiles.card.tile,
        "nc:grid": tiles.grid.id,
    }
    if tiles.card.weights_sha256 is not None:
        attrs["nc:weights_sha256"] = tiles.card.weights_sha256
    return attrs
