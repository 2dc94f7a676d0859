"""encode_cube: a cube's latents as an embedding cube, one vector a patch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import xarray as xr

from openeo_nc.codecs import registry
from openeo_nc.codecs.base import with_latents
from openeo_nc.codecs.bitstream import VERSION
from openeo_nc.cubes.dims import LATENT, T, labels, nodata_of
from openeo_nc.cubes.embedding_attributes import DIMENSIONS, TYPE, kind
from openeo_nc.cubes.patches import patch_coords
from openeo_nc.cubes.payloads import with_payloads
from openeo_nc.cubes.rates import check_quality
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.cubes.tasks import analyse_tiles, embed_tiles, pack_tiles
from openeo_nc.cubes.tile_store_graph import kept_tiles, unpack_tiles
from openeo_nc.cubes.tiles import Tiles, complete, cut, provenance
from openeo_nc.errors import InvalidParameterError
from openeo_nc.inference.cache import get_codec

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard


def encode_cube(
    cube: xr.DataArray,
    model: str = "auto",
    quality: float | None = None,
    scale: float | None = None,
) -> xr.DataArray:
    """The embedding cube `(t, embedding, y, x)` float32 of a raster cube (lazy).

    It covers whole tiles of the grid: the request is widened to them, and cropped again by
    `decode_cube`. x and y are the centres of patches of `stride` pixels. Values are the latents
    times the quantiser's step; a patch without a valid pixel is NaN.

    Parameters are those of `compress_cube`; `model` must give latents that compare between tiles.

    Raises
    ------
    CodecNotFoundError, BandMismatchError, DimensionMissingError, CRSMissingError,
    NoDataAvailableError, GridMismatchError, DataTypeUnsupportedError, InvalidParameterError
    """
    chosen = registry.choose(model, labels(complete(cube)), embedding=True)
    tiles = cut(cube, chosen.codec_id, quality, scale)
    channels = _channels(tiles.card)
    spec, level = tiles.coding.spec, check_quality(tiles.card, quality)
    step = float(with_latents(get_codec(spec)).embedding_step(level))
    alone = tuple((t,) for t in range(tiles.cube.sizes[T]))
    if (kept := kept_tiles(tiles, "latents", alone)) is not None:
        tiles, blocks = kept.tiles, kept.blocks
        latents = unpack_tiles(blocks, spec)
    else:
        latents = analyse_tiles(
            tiles.source, spec, quality=level, nodata=tiles.coding.nodata, basis="card"
        )
        blocks = pack_tiles(latents, spec)
    stride = tiles.card.stride
    data = embed_tiles(
        latents, channels=channels, stride=stride, side=tiles.card.tile // stride, step=step
    )
    embedding = xr.DataArray(
        data,
        dims=LATENT,
        coords=_coords(tiles, channels),
        attrs=provenance(tiles) | _attributes(tiles, scale, step),
        name="embedding",
    )
    embedding = embedding.rio.write_crs(tiles.cube.rio.crs).rio.write_transform()
    return with_payloads(embedding, tiles.payloads(blocks, "latents", kept=kept))


def _channels(card: CodecCard) -> int:
    if not card.embedding or card.latent_channels is None:
        raise InvalidParameterError(
            f"The latents of '{card.codec_id}' do not compare between tiles, so they are no "
            "embedding. Choose a model whose card says embedding, or use compress_cube."
        )
    return card.latent_channels


def _coords(tiles: Tiles, channels: int) -> dict[str, Any]:
    coords = patch_coords(tiles.padded, tiles.card.stride, channels)
    if T in tiles.cube.coords:
        coords[T] = tiles.cube[T]
    return coords


def _attributes(tiles: Tiles, scale: float | None, step: float) -> dict[str, Any]:
    """What `decode_cube` needs to know beyond the values."""
    attrs: dict[str, Any] = {
        TYPE: kind(tiles.card.stride),
        DIMENSIONS: tiles.card.latent_channels,
        "nc:bitstream": VERSION,
        "nc:step": step,
        "nc:stride": tiles.card.stride,
        "nc:bands": list(tiles.bands),
        "nc:bounds": list(tiles.bounds),
        "nc:source_dtype": tiles.cube.dtype.name,
        "nc:dtype": tiles.source.dtype.name,
    }
    if (given := tiles.cube.attrs.get(SCALE) if scale is None else scale) is not None:
        attrs[SCALE] = float(given)
    nodata = nodata_of(tiles.cube) if tiles.coding.nodata is None else tiles.coding.nodata
    if nodata is not None and not math.isnan(nodata):
        attrs["nc:nodata"] = nodata
    return attrs
