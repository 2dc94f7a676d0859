"""compress_cube: a cube of the decoder's pixels that carries the payloads they come from.

The payloads and the pixels share the task that encodes a tile. Saving touches payloads only, so
nothing is decoded; computing pixels decodes; doing both encodes once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.cubes.dims import X, Y, nodata_of
from openeo_nc.cubes.payloads import with_payloads
from openeo_nc.cubes.tasks import Form, decode_tiles, encode_tiles
from openeo_nc.cubes.tiles import Tiles, cut, provenance

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr


def compress_cube(
    cube: xr.DataArray,
    codec: str = "auto",
    quality: float | None = None,
    scale: float | None = None,
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
        Level in the codec's range, default the codec's own. Higher is better and larger.
    scale
        Physical value of the cube's number 1; default its attribute `nc:scale`, else the cube is
        taken to be in the codec's units.

    Raises
    ------
    CodecNotFoundError, BandMismatchError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError, GridMismatchError, DataTypeUnsupportedError, InvalidParameterError
    """
    tiles = cut(cube, codec, quality, scale)
    blocks = encode_tiles(tiles.source, tiles.spec, quality=tiles.quality, nodata=tiles.nodata)
    restored = tiles.cube.copy(data=_pixels(tiles, blocks))
    added = [dim for dim in restored.dims if dim not in cube.dims]
    restored = restored.isel(dict.fromkeys(added, 0)).transpose(*cube.dims)
    # as the source has them: a label of an added dimension is not one of its coordinates
    compressed = cube.copy(data=restored.data).assign_attrs(provenance(tiles))
    return with_payloads(compressed, tiles.payloads(blocks, "pixels"))


def _pixels(tiles: Tiles, blocks: da.Array) -> da.Array:
    """The decoded pixels of the cube, `(t, bands, y, x)`, cropped out of the tiles."""
    window, sizes = tiles.window, tiles.cube.sizes
    form = Form(
        bands=len(tiles.bands),
        tile=tiles.card.tile,
        dtype=tiles.cube.dtype,
        ratio=tiles.ratio,
        nodata=nodata_of(tiles.cube),
    )
    pixels = decode_tiles(blocks, tiles.spec, form)
    rows = slice(window.pad_top, window.pad_top + sizes[Y])
    columns = slice(window.pad_left, window.pad_left + sizes[X])
    cropped: da.Array = pixels[:, :, rows, columns]
    return cropped
