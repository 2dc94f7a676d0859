"""compress_cube: a cube of the decoder's pixels that carries the payloads they come from.

The payloads and the pixels share the task that encodes a tile. Saving touches payloads only, so
nothing is decoded; computing pixels decodes; doing both encodes once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from openeo_nc.cubes.date_windows import windows
from openeo_nc.cubes.dims import T, X, Y, labels
from openeo_nc.cubes.payloads import with_payloads
from openeo_nc.cubes.tasks import (
    bound_flagged,
    decode_tiles,
    encode_tiles,
    encode_windows,
    shift_tiles,
)
from openeo_nc.cubes.tile_store_graph import kept_tiles
from openeo_nc.cubes.tiles import Tiles, cut, provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    import xarray as xr

    from openeo_nc.cubes.rates import Guard

_MIDNIGHT = "T00:00:00.000000000"


def compress_cube(
    cube: xr.DataArray,
    codec: str = "auto",
    quality: float | None = None,
    scale: float | None = None,
    *,
    target_psnr: float | None = None,
    target_ratio: float | None = None,
    max_error: float | Sequence[float] | None = None,
    guard: Guard = "off",
    dates: int | None = None,
) -> xr.DataArray:
    """The cube as a codec gives it back: same dimensions, labels, coordinates and dtype (lazy).

    Parameters
    ----------
    cube
        `(t, bands, y, x)` in any order, t or bands may be missing; NaN, or `_FillValue` of an
        integer cube, is no data and stays exactly where it is.
    codec
        Id of a codec, or `auto`: one made for exactly these bands, else `klt-dct`.
    quality
        Level in the codec's range, default the codec's own. Higher is better and larger. At most
        one of this and the three that follow.
    scale
        Physical value of the cube's number 1; default its attribute `nc:scale`, else the cube is
        taken to be in the codec's units.
    target_psnr
        PSNR in dB that each tile shall have, met within 0.3 dB. One that is better at the codec's
        lowest quality stays at that; above the highest, codecs with latents correct their errors.
    target_ratio
        Bytes of valid pixels for a byte of payload that each tile shall reach, as `inspect` counts
        them: of 16 bits for integers of up to 16 and for reflectances. A tile that does not reach it
        at the lowest quality stays at that.
    max_error
        Largest absolute error of every valid pixel, in the cube's numbers, one or one a band; 0 is
        lossless. Each tile takes the smallest of several codecs that keep it; encoding decodes it
        to make sure.
    guard
        What is done about tiles unlike the codec's training data: "report" scores each tile,
        "bounded" codes within `max_error` those that are flagged, and those that cannot be judged:
        of other bands than the guard's twelve, with a side below 64 or fewer than 4096 pixels that
        are valid in all bands. The others are coded as asked.
    dates
        Days of a window, counted from 1970-01-01, whose dates of a tile are coded together where
        that is cheaper. Each date still decodes alone, at the cost of decoding its group. Codecs
        that take no dates together are refused; `auto` takes one that does.

    Raises
    ------
    CodecNotFoundError, BandMismatchError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError, GridMismatchError, DataTypeUnsupportedError, InvalidParameterError
    """
    tiles = cut(
        cube, codec, quality, scale, target_psnr=target_psnr, target_ratio=target_ratio,
        max_error=max_error, guard=guard, dates=dates,
    )  # fmt: skip
    kept = kept_tiles(tiles, "pixels", _windows(tiles))
    if kept is not None:
        tiles, blocks, shifts = kept.tiles, kept.blocks, kept.shifts
    else:
        blocks, shifts = _coded(tiles)
    restored = tiles.cube.copy(data=_pixels(tiles, blocks))
    added = [dim for dim in restored.dims if dim not in cube.dims]
    restored = restored.isel(dict.fromkeys(added, 0)).transpose(*cube.dims)
    # as the source has them: a label of an added dimension is not one of its coordinates
    # JSON text: NetCDF holds no objects in attributes
    attrs = provenance(tiles) | {"nc:rate": json.dumps(tiles.coding.asked.document())}
    compressed = cube.copy(data=restored.data).assign_attrs(attrs)
    return with_payloads(compressed, tiles.payloads(blocks, "pixels", shifts, kept))


def _coded(tiles: Tiles) -> tuple[da.Array, da.Array | None]:
    """Payloads of the tiles, `(t, tile_y, tile_x)` object, and shifts if they are asked for."""
    source, coding = tiles.source, tiles.coding
    dates = tuple(label.removesuffix(_MIDNIGHT) for label in labels(tiles.cube, T))
    if coding.asked.dates is None:
        blocks = encode_tiles(source, coding, dates)
    else:
        blocks = encode_windows(source, coding, _windows(tiles), dates)
    if coding.asked.guard == "off":
        return blocks, None
    shifts = shift_tiles(source, blocks, coding)
    if coding.asked.flagged is not None:
        blocks = bound_flagged(source, blocks, shifts, coding, dates)
    return blocks, shifts


def _windows(tiles: Tiles) -> tuple[tuple[int, ...], ...]:
    """Dates that are coded together."""
    count, days = tiles.cube.sizes[T], tiles.coding.asked.dates
    if days is None:
        return tuple((t,) for t in range(count))
    times = tuple(tiles.cube[T].values) if T in tiles.cube.coords else None
    return windows(times, count, days)


def _pixels(tiles: Tiles, blocks: da.Array) -> da.Array:
    """The decoded pixels of the cube, `(t, bands, y, x)`, cropped out of the tiles."""
    window, sizes = tiles.window, tiles.cube.sizes
    coding = tiles.coding
    pixels = decode_tiles(blocks, coding.spec, coding.form, coding.others)
    rows = slice(window.pad_top, window.pad_top + sizes[Y])
    columns = slice(window.pad_left, window.pad_left + sizes[X])
    cropped: da.Array = pixels[:, :, rows, columns]
    return cropped
