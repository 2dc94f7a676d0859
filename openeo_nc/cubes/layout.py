"""What a store of payloads looks like: arrays, coordinates and attributes of each of its views.

    view      array       dims                   dtype       chunk (one payload)
    pixels    data        t, bands, y, x         the card's  1, bands, tile, tile
    latents   embeddings  t, embedding, y, x     int32       1, channels, tile/stride, tile/stride

Both cover whole tiles. Numbers carry `scale_factor` and `_FillValue` as CF has them, so xarray
gives the cube's numbers. How far the tiles reach beyond the cube is in `nc:window`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.codecs.bitstream import VERSION
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.views import ARRAYS, VIEW
from openeo_nc.codecs.zarr import NO_LATENT, NeuralCodec, View
from openeo_nc.cubes import conventions
from openeo_nc.cubes.dims import LATENT, RASTER, T, X, Y
from openeo_nc.cubes.embedding_attributes import TYPE, kind
from openeo_nc.cubes.grid import Bounds, TileGrid, Window, centres
from openeo_nc.cubes.rates import reference_dtype
from openeo_nc.models.layout import labels_of

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.payloads import Payloads
    from openeo_nc.cubes.rates import Asked

SHARD_DATES = 32
"""Most dates of a shard: a task that writes one holds all its payloads."""
Vector = npt.NDArray[np.float64]
Lattice = tuple[int, float]
"""Channels of latents and their step, where those of all tiles compare."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """All that the metadata of a store of payloads say; plain values, no lazy arrays."""

    native: View
    """The view that the cube was."""
    card: CodecCard
    """Card of the codec."""
    asked: Asked
    """What payloads were to reach."""
    others: Mapping[str, str | None]
    """Codecs besides the card's that payloads may be of, and their weights' SHA-256."""
    grid: TileGrid
    """Grid of the pixels."""
    window: Window
    """Tiles on it, and how far they reach beyond the cube."""
    bands: tuple[str, ...]
    """Labels of the bands."""
    times: tuple[Any, ...] | None
    """Labels of t, if it has any."""
    dates: int
    """Length of t."""
    dtype: np.dtype[Any]
    """dtype of decoded tiles."""
    nodata: float | None
    """No data in decoded integers."""
    scale_factor: float
    """The cube's number = decoded number * scale_factor."""
    dims: tuple[str, ...]
    """Dimensions of the cube, which may lack t or bands."""
    attrs: Mapping[str, Any]
    """Attributes of the cube that JSON can hold."""
    x: Vector
    """Pixel centres of whole tiles."""
    y: Vector
    """Pixel centres of whole tiles, north to south."""
    shard: tuple[int, int, int]
    """Tiles of a shard in t, y and x; several in t where dates may share bytes."""

    @classmethod
    def of(cls, cube: xr.DataArray, payloads: Payloads, shard_tiles: int) -> Layout:
        """The layout of a cube that carries payloads."""
        window, grid = payloads.window, payloads.grid
        native: View = payloads.kind
        dates = payloads.blocks.shape[0]
        x, y = _centres(grid, window)
        attrs = conventions.plain(cube.attrs)
        if native == "pixels":  # computed centres of grids in degrees differ in the last digits
            x[window.pad_left : x.size - window.pad_right] = cube[X].values
            y[window.pad_top : y.size - window.pad_bottom] = cube[Y].values
            attrs["nc:source_dtype"] = cube.dtype.name
            if "_FillValue" in attrs:
                attrs["nc:source_nodata"] = attrs["_FillValue"]
        return cls(
            native=native,
            card=payloads.card,
            asked=payloads.coding.asked,
            others={other.codec_id: other.weights_sha256 for other in payloads.coding.others},
            grid=grid,
            window=window,
            bands=payloads.bands,
            times=payloads.times,
            dates=dates,
            dtype=payloads.dtype,
            nodata=payloads.nodata,
            scale_factor=payloads.scale_factor,
            dims=tuple(map(str, cube.dims)),
            attrs=attrs,
            x=x,
            y=y,
            shard=(
                1 if payloads.coding.asked.dates is None else min(SHARD_DATES, dates),
                min(shard_tiles, window.nj),
                min(shard_tiles, window.ni),
            ),
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(t, bands, y, x)` of the cube, without what the tiles reach beyond it."""
        window = self.window
        height = self.y.size - window.pad_top - window.pad_bottom
        width = self.x.size - window.pad_left - window.pad_right
        return self.dates, len(self.bands), height, width

    @property
    def bounds(self) -> Bounds:
        """Bounds of the cube."""
        return self.grid.bounds(
            self.window.i0 * self.grid.tile + self.window.pad_left,
            self.window.j0 * self.grid.tile + self.window.pad_top,
            self.shape[3],
            self.shape[2],
        )

    @property
    def outer_bounds(self) -> Bounds:
        """Bounds of the whole tiles."""
        return _outer(self.grid, self.window)

    def shard_key(self, t: int, row: int, column: int) -> str:
        """Path of a shard in the store."""
        return f"{ARRAYS[self.native]}/c/{t}/0/{row}/{column}"

    def dataset(self, view: View, lattice: Lattice | None) -> tuple[xr.Dataset, dict[str, Any]]:
        """A view without its data, and the encoding that `to_zarr(compute=False)` takes.

        Parameters
        ----------
        lattice
            That of the latents; None will do for pixels.
        """
        channels, step = lattice or (0, math.nan)
        if view == "pixels":
            dims, labels, chunk, dtype = RASTER, self.bands, self.grid.tile, self.dtype
            x, y, attrs = self.x, self.y, self._pixel_attrs()
        else:
            stride = self.card.stride
            dims, labels, dtype = LATENT, _names(channels), np.dtype(np.int32)
            chunk = self.grid.tile // stride
            x, y = (_coarse(axis, stride) for axis in (self.x, self.y))
            attrs = self._latent_attrs(step)
        name = ARRAYS[view]
        deep, high, wide = self.shard
        shard = (deep, len(labels), high * chunk, wide * chunk)
        data = da.zeros((self.dates, len(labels), y.size, x.size), chunks=shard, dtype=dtype)
        coords: dict[str, Any] = {dims[1]: np.array(labels, object), Y: y, X: x}
        if self.times is not None:
            times = np.array(self.times)
            coords[T] = times.astype(object) if times.dtype.kind in "US" else times
        dataset = xr.Dataset({name: (dims, data, attrs)}, coords)
        dataset = dataset.rio.write_crs(self.grid.crs).rio.write_transform()
        dataset.attrs = self._group_attrs(view, len(labels), step)
        encoding = {
            "chunks": (1, len(labels), chunk, chunk),
            "shards": shard,
            "serializer": self._codec(view),
            "compressors": None,
            "fill_value": _fill(dtype, attrs.get("_FillValue")),
        }
        return dataset, {name: encoding}

    def _codec(self, view: View) -> NeuralCodec:
        return NeuralCodec(
            codec=self.card.codec_id,
            weights_sha256=self.card.weights_sha256,
            quality=self.asked.quality,
            view=view,
            basis="tile" if self.native == "pixels" else "card",
            nodata=self.nodata,
            others=tuple(self.others.items()),
            rate=self._chunk_rate(),
        )

    def _chunk_rate(self) -> Rate | None:
        """What chunks that are written through Zarr must reach, in the card's numbers.

        A bound that some tiles keep is kept by all of these: which they are is not known there.
        """
        if self.asked.quality is not None:
            return None
        rate = self.asked.bounded or self.asked.rate
        if rate.max_error is not None:
            return Rate(max_error=tuple(bound / self.scale_factor for bound in rate.max_error))
        if rate.target_ratio is not None:
            reference = reference_dtype(self.dtype, self.card)
            share = self.dtype.itemsize / reference.itemsize
            return Rate(target_ratio=rate.target_ratio * share)
        return rate

    def _coding_attrs(self) -> dict[str, Any]:
        """What both views say of how they are coded."""
        window = self.window
        pads = [window.pad_top, window.pad_bottom, window.pad_left, window.pad_right]
        attrs = {
            "nc:codec": self.card.codec_id,
            "nc:weights_sha256": self.card.weights_sha256,
            "nc:bitstream": VERSION,  # up to: a payload is of the oldest that has what it needs
            "nc:quality": self.asked.quality,
            "nc:rate": self.asked.document() if self.native == "pixels" else None,
            "nc:tile": self.grid.tile,
            "nc:grid": self.grid.id,
            "nc:bands": list(self.bands),
            "nc:dtype": self.dtype.name,
            "nc:reference_dtype": reference_dtype(self.dtype, self.card).name,
            "nc:window": pads,
        }
        return {name: value for name, value in attrs.items() if value is not None}

    def _pixel_attrs(self) -> dict[str, Any]:
        own = self.attrs if self.native == "pixels" else _raster_attrs(self.attrs)
        attrs = {**own, **self._coding_attrs(), **conventions.GRID_MAPPING}
        for name in ("_FillValue", "scale_factor", "add_offset"):
            attrs.pop(name, None)
        if self.scale_factor != 1:
            attrs["scale_factor"] = self.scale_factor
        if self.nodata is not None and self.dtype.kind != "f":
            attrs["_FillValue"] = int(self.nodata)
        if self.native == "pixels":
            attrs["nc:dims"] = list(self.dims)
        return attrs

    def _latent_attrs(self, step: float) -> dict[str, Any]:
        attrs = dict(self.attrs) if self.native == "latents" else _raster_attrs(self.attrs)
        return {
            **attrs,
            **self._coding_attrs(),
            TYPE: kind(self.card.stride),
            "nc:step": step,
            "nc:stride": self.card.stride,
            **conventions.GRID_MAPPING,
            "scale_factor": step,
            "_FillValue": NO_LATENT,
        }

    def _group_attrs(self, view: View, labels: int, step: float) -> dict[str, Any]:
        stride = self.card.stride if view == "latents" else 1
        shape = (self.y.size // stride, self.x.size // stride)
        attrs = conventions.spatial(self.grid.crs, self.outer_bounds, shape)
        if view == "latents":
            added = conventions.embeddings(
                self.card, self.grid.crs, labels, step, self.attrs, self.grid.res_x * stride
            )
            listed = [*attrs["zarr_conventions"], *added["zarr_conventions"]]
            attrs = {**attrs, **added, "zarr_conventions": listed}
        return {**attrs, **self._coding_attrs(), VIEW: self.native}


def _centres(grid: TileGrid, window: Window) -> tuple[Vector, Vector]:
    """Pixel centres of a window's whole tiles, x and y."""
    left, _, _, top = _outer(grid, window)
    width, height = window.ni * grid.tile, window.nj * grid.tile
    return centres(left, grid.res_x, width), centres(top, -grid.res_y, height)


def _outer(grid: TileGrid, window: Window) -> Bounds:
    tile = grid.tile
    return grid.bounds(window.i0 * tile, window.j0 * tile, window.ni * tile, window.nj * tile)


def _coarse(axis: Vector, stride: int) -> Vector:
    """Centres of patches from those of pixels."""
    return np.asarray(axis.reshape(-1, stride).mean(axis=1))


def _names(channels: int) -> tuple[str, ...]:
    return tuple(labels_of(channels))


def _raster_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What attributes of one view say of the other: where data come from and what they measure."""
    return {
        name: value
        for name, value in attrs.items()
        if name in {"nc:scale", "nc:source_dtype", "nc:bounds", "nc:source_nodata"}
    }


def _fill(dtype: np.dtype[Any], nodata: int | None) -> float | int:
    """What Zarr gives for chunks that are not there."""
    if dtype.kind == "f":
        return math.nan
    return 0 if nodata is None else nodata
