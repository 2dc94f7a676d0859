"""Cuts a cube into the whole tiles that a codec takes, in the codec's numbers; computes nothing.

cube (any of t, bands left out) -> card and spec -> card numbers -> padded to whole tiles
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openeo_nc.codecs import registry
from openeo_nc.codecs.guard import SCALE as GUARD_SCALE
from openeo_nc.cubes import rates, tile_store
from openeo_nc.cubes.coding import Coding, Form
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
    nodata_of,
    require,
)
from openeo_nc.cubes.grid import Bounds, TileGrid, Window, pad_to_tiles, resolution_of
from openeo_nc.cubes.payloads import Payloads
from openeo_nc.cubes.rates import reference_dtype
from openeo_nc.cubes.scaling import card_bound, factor, factor_to, rounds, to_card
from openeo_nc.cubes.scenes import scenes_of
from openeo_nc.cubes.whole_tiles import WholeTiles
from openeo_nc.errors import BandMismatchError, InvalidParameterError, NoDataAvailableError
from openeo_nc.inference.cache import get_codec
from openeo_nc.inference.spec import CodecSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dask.array as da
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.rates import Asked
    from openeo_nc.cubes.tile_store_graph import Kept

_LARGEST = 2.0**16
"""Card numbers of pixels are below it, as 16 bits at their source are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """A cube as whole tiles of one codec, one a chunk."""

    cube: xr.DataArray
    """The cube as `(t, bands, y, x)`, before anything was changed."""
    padded: xr.DataArray
    """`(t, bands, y, x)` in the card's numbers, whole tiles."""
    card: CodecCard
    """Card of the codec."""
    coding: Coding
    """How tiles become payloads, and payloads the cube's pixels."""
    grid: TileGrid
    """Grid of the pixels."""
    window: Window
    """The cube's tiles on it."""
    bands: tuple[str, ...]
    """Labels of the bands."""
    whole: WholeTiles | None = None
    """What the tiles are read from, where that is known and a tile store is in use."""

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

    def payloads(
        self, blocks: da.Array, kind: Literal["pixels", "latents"],
        shifts: da.Array | None = None, kept: Kept | None = None,
    ) -> Payloads:  # fmt: skip
        """The record of these tiles once they are coded in `blocks`."""
        return Payloads(
            blocks=blocks,
            card=self.card,
            coding=self.coding,
            grid=self.grid,
            window=self.window,
            bands=self.bands,
            dtype=self.source.dtype,
            kind=kind,
            scale_factor=1.0 / self.coding.form.ratio,
            times=tuple(self.cube[T].values) if T in self.cube.coords else None,
            source=self.source,
            shifts=shifts,
            kept=kept,
        )


def cut(
    cube: xr.DataArray, codec: str, quality: float | None = None, scale: float | None = None,
    **targets: Any,
) -> Tiles:  # fmt: skip
    """The tiles of a cube for a codec id or `auto`; `targets` are those of `rates.asked`.

    Raises
    ------
    DimensionMissingError, CRSMissingError, NoDataAvailableError, GridMismatchError
        From the cube's dimensions and coordinates.
    CodecNotFoundError, BandMismatchError, DataTypeUnsupportedError, InvalidParameterError
        From what the codec takes.
    """
    raster = complete(cube)
    bands = labels(raster)
    card = _chosen(codec, raster, bands, scale, targets)
    if targets.get("dates") is not None:
        card = _joining(codec, card)
    check_bands(card, bands)
    asked = rates.asked(card, bands, quality=quality, **targets)
    numbers = to_card(raster, card, scale)
    grid = TileGrid.of(raster, card.tile)
    padded = pad_to_tiles(numbers, card.tile)
    window = grid.window(raster)
    return Tiles(
        cube=raster,
        padded=padded,
        card=card,
        coding=_coding(raster, padded, card, asked, scale, free=codec == "auto"),
        grid=grid,
        window=window,
        bands=bands,
        whole=_whole(cube, raster, numbers, card, grid, window, scale),
    )


def _whole(
    cube: xr.DataArray, raster: xr.DataArray, numbers: xr.DataArray, card: CodecCard,
    grid: TileGrid, window: Window, scale: float | None,
) -> WholeTiles | None:  # fmt: skip
    """What the tiles of a cube are read from, if a tile store may have them."""
    if tile_store.current() is None or (scenes := scenes_of(cube)) is None:
        return None
    if {raster.dtype.name, numbers.dtype.name} != {"float32"}:
        return None
    return WholeTiles.of(scenes, raster, grid, window, factor(raster, card, scale))


def _chosen(
    codec: str, raster: xr.DataArray, bands: tuple[str, ...], scale: float | None,
    targets: Mapping[str, Any],
) -> CodecCard:  # fmt: skip
    """The card of a codec id; `auto` takes the cube's own numbers where converting could cost a bound.

    A bound that only some tiles have, by the guard, costs all the others the codec made for their
    bands, so there it must be too tight for converting.
    """
    card, max_error = registry.choose(codec, bands), targets.get("max_error")
    if codec != "auto" or max_error is None:
        return card
    ratio, numbers = factor(raster, card, scale), to_card(raster, card, scale).dtype
    if not rounds(ratio, raster.dtype, numbers):
        return card
    if targets.get("guard") == "bounded" and _converts(max_error, bands, raster, ratio, numbers):
        return card
    return registry.universal(len(bands))


def _converts(
    max_error: Any, bands: tuple[str, ...], raster: xr.DataArray, ratio: float,
    numbers: np.dtype[Any],
) -> bool:  # fmt: skip
    """Whether card numbers up to `_LARGEST` can be converted, there and back, within all bounds."""
    bounds = rates.check_bounds(max_error, bands)
    try:
        for bound in bounds:
            card_bound(bound, _LARGEST, ratio, raster.dtype, numbers, nodata_of(raster))
    except InvalidParameterError:
        return False
    return True


def _joining(codec: str, card: CodecCard) -> CodecCard:
    """The card if its codec codes dates together, for `auto` else the universal one."""
    if get_codec(CodecSpec.of(card)).joins_dates:
        return card
    if codec == "auto":
        return registry.get_card(registry.UNIVERSAL)
    raise InvalidParameterError(
        f"The codec '{card.codec_id}' codes each date alone, so it takes no option 'dates'; "
        f"'{registry.UNIVERSAL}' does."
    )


def _coding(
    raster: xr.DataArray, padded: xr.DataArray, card: CodecCard, asked: Asked, scale: float | None,
    *, free: bool,
) -> Coding:  # fmt: skip
    free = free and card == registry.universal(raster.sizes[BANDS]) and asked.dates is None
    spec, ratio = CodecSpec.of(card), factor(raster, card, scale)
    if asked.bounded is not None:
        check_keeps_bounds(card, spec)
        for bound in (
            asked.bounded.max_error or ()
        ):  # not even zeros may keep one: said before tasks
            card_bound(bound, 0.0, ratio, raster.dtype, padded.dtype, nodata_of(raster))
    others = rates.fallbacks(card, padded.dtype) if free or asked.bounded is not None else ()
    return Coding(
        spec=spec,
        others=tuple(map(CodecSpec.of, others)),
        asked=asked,
        form=Form(
            bands=raster.sizes[BANDS],
            tile=card.tile,
            dtype=raster.dtype,
            ratio=ratio,
            nodata=nodata_of(raster) if raster.dtype.kind in "iu" else None,
        ),
        reference=reference_dtype(padded.dtype, card),
        # stated for integers even where nothing is padded: a payload does not depend on the request
        nodata=fill_value(padded) if np.issubdtype(padded.dtype, np.integer) else None,
        free=free,
        to_guard=1.0 if asked.guard == "off" else factor_to(raster, GUARD_SCALE, scale) / ratio,
    )


def check_keeps_bounds(card: CodecCard, spec: CodecSpec) -> None:
    """Raise InvalidParameterError if a codec without weights is known to keep no bounds.

    One with weights is not loaded to find out: tasks raise the same error.
    """
    if card.weights is None and not get_codec(spec).keeps_bounds:
        raise InvalidParameterError(
            f"The codec '{card.codec_id}' keeps no bound on its error, so it takes no max_error; "
            "'klt-dct' keeps any."
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


def provenance(tiles: Tiles) -> dict[str, Any]:
    """The `nc:` attributes of what was coded: codec, weights, quality if all have one, and grid."""
    attrs: dict[str, Any] = {
        "nc:codec": tiles.card.codec_id,
        "nc:quality": tiles.coding.asked.quality,
        "nc:tile": tiles.card.tile,
        "nc:grid": tiles.grid.id,
        "nc:weights_sha256": tiles.card.weights_sha256,
    }
    return {name: value for name, value in attrs.items() if value is not None}
