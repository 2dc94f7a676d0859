"""The payloads that a cube carries, and when they still count.

xarray attributes survive arithmetic, so a record in them proves nothing by itself: `cube * 2`
keeps every attribute of `cube`. A dask array's name, though, changes with every operation. The
record is therefore a string, the dask name of the array it was made with, and counts only while
the cube's array still has that name. Being a string it also passes through whatever writes
attributes (Zarr, NetCDF, JSON), where the payloads themselves would be refused.

        cube.attrs["nc:payloads"]  == cube.data.name    payloads_of(cube) -> Payloads
        (cube * 2).attrs["nc:payloads"] != its name     payloads_of(cube * 2) -> None
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import dask.array as da
    import numpy as np
    import xarray as xr

    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.coding import Coding
    from openeo_nc.cubes.grid import TileGrid, Window
    from openeo_nc.cubes.tile_store_graph import Kept
    from openeo_nc.inference.spec import CodecSpec

ATTRIBUTE = "nc:payloads"
"""The attribute that holds the record."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Payloads:
    """The coded form of a cube, lazily: one payload a date and a tile."""

    blocks: da.Array
    """`(t, tile_y, tile_x)` object, one element a chunk, each the `bytes` of one whole tile."""
    card: CodecCard
    """Card of the codec that writes them."""
    coding: Coding
    """How they were coded and decode: codecs, rate, and what becomes of decoded tiles."""
    grid: TileGrid
    """The fixed grid that the tiles lie on."""
    window: Window
    """Which tiles of the grid, and how far they reach beyond the cube."""
    bands: tuple[str, ...]
    """Labels of the coded bands, in order."""
    dtype: np.dtype[Any]
    """dtype of a decoded tile, in the card's numbers (not the embedding's)."""
    kind: Literal["pixels", "latents"]
    """What the carrying cube shows: reconstructed pixels, or latents as an embedding."""
    scale_factor: float
    """The cube's number = decoded number * scale_factor."""
    times: tuple[Any, ...] | None = None
    """Labels of t, one a row of blocks; None if t has none."""
    source: da.Array | None = None
    """The tiles before coding, `(t, bands, y, x)` in the card's numbers, one tile a chunk."""
    shifts: da.Array | None = None
    """The guard's `Shift` of each tile, as `blocks`; None where no guard was asked for."""
    kept: Kept | None = None
    """What a tile store has of them, where one is in use and knows what they are of."""

    @property
    def errors(self) -> da.Array | None:
        """The `TileError` of each tile, as `blocks`, where a tile store knows it; else None."""
        return None if self.kept is None else self.kept.errors

    @property
    def spec(self) -> CodecSpec:
        """What workers open the codec by."""
        return self.coding.spec

    @property
    def quality(self) -> float | None:
        """Quality the tiles are coded at; None if each has its own."""
        return self.coding.asked.quality

    @property
    def nodata(self) -> float | None:
        """Value of masked pixels in a decoded tile; None is NaN (float) or no mask (integer)."""
        return self.coding.nodata

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.blocks.shape))
        rate = ", ".join(f"{name} {value}" for name, value in self.coding.asked.document().items())
        return f"<Payloads {self.card.codec_id} {rate}, {self.kind} {shape} tiles>"


class PayloadRecord(str):
    """The attribute's value: the dask name that the payloads belong to, and the payloads."""

    __slots__ = ("payloads",)
    payloads: Payloads

    def __new__(cls, name: str, payloads: Payloads) -> Self:
        record = super().__new__(cls, name)
        record.payloads = payloads
        return record

    def __getnewargs__(self) -> tuple[str, Payloads]:  # type: ignore[override]
        return str(self), self.payloads


def with_payloads(cube: xr.DataArray, payloads: Payloads) -> xr.DataArray:
    """The same dask-backed cube, carrying `payloads` until its array changes."""
    return cube.assign_attrs({ATTRIBUTE: PayloadRecord(cube.data.name, payloads)})


def payloads_of(cube: xr.DataArray) -> Payloads | None:
    """The payloads that hold exactly what `cube` shows, or None.

    None for a cube that never was coded, for one whose array is another than the one recorded
    (arithmetic, selection, rechunking), and for one that was computed into memory.
    """
    record = cube.attrs.get(ATTRIBUTE)
    if isinstance(record, PayloadRecord) and getattr(cube.data, "name", None) == str(record):
        return record.payloads
    return None


def origin_of(cube: xr.DataArray) -> Payloads | None:
    """The payloads that `cube` was derived from, whatever was done to it since, or None.

    They say what the values were once; only a comparison tells whether they still are.
    """
    record = cube.attrs.get(ATTRIBUTE)
    return record.payloads if isinstance(record, PayloadRecord) else None
