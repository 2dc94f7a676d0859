"""embed_cube: the vectors that an embedding model gives of a cube, one a patch, georeferenced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import BANDS, LATENT, T, X, Y, crs_of, labels, lazy, nodata_of
from openeo_nc.cubes.embed_kept import made_whole, stated, vectors_of
from openeo_nc.cubes.embed_tasks import Embedding, embed_tiles
from openeo_nc.cubes.embedding_attributes import DIMENSIONS, TYPE, kind
from openeo_nc.cubes.grid import TileGrid, pad_to_tiles, resolution_of
from openeo_nc.cubes.patches import patch_coords
from openeo_nc.cubes.scaling import SCALE, factor_to, multiply
from openeo_nc.cubes.tiles import complete
from openeo_nc.errors import (
    BandMismatchError,
    DataTypeUnsupportedError,
    GridMismatchError,
    InvalidParameterError,
)
from openeo_nc.inference.embedding import ModelSpec
from openeo_nc.models.layout import Layout

if TYPE_CHECKING:
    from openeo_nc.cubes.tile_store_graph import Entries
    from openeo_nc.models.base import ModelCard

QUANTIZATION = "int8"
"""The quantiser that is used if none is named."""
_NEAR = 1.5
"""How many times larger or smaller pixels may be than those that a model was made for."""
_DEGREE = 111_320.0
"""Metres of a degree of latitude."""


def embed_cube(
    cube: xr.DataArray,
    card: ModelCard,
    *,
    quantization: str = QUANTIZATION,
    device: str | None = None,
    scale: float | None = None,
    any_resolution: bool = False,
) -> xr.DataArray:
    """The embedding cube `(t, embedding, y, x)` float32 of a raster cube (lazy).

    It covers whole tiles of a grid that is anchored at the CRS origin. x and y are the centres of
    patches of `card.stride` pixels. Values lie on the quantiser's lattice; a patch without a valid
    pixel is NaN, and so is one beside the cube.

    Parameters
    ----------
    cube
        `(t, bands, y, x)`, t and bands may lack; bands are found by name, more may be there. Where
        the model takes several dates, as many in a row are one, labelled with the first.
    quantization
        Name of a quantiser of `models.quantisation`.
    scale
        Physical value of the cube's 1; default the cube's `nc:scale`, else the card's.
    any_resolution
        Take pixels of another size than the model was made for.

    Raises
    ------
    DimensionMissingError, CRSMissingError, NoDataAvailableError, GridMismatchError,
    BandMismatchError, DataTypeUnsupportedError, InvalidParameterError
    """
    raster, how = _planned(cube, card, quantization, device, any_resolution)
    padded = pad_to_tiles(_numbers(raster, card, scale), how.layout.tile)
    coords = patch_coords(padded, card.stride, card.dim)
    if T in raster.coords:
        coords[T] = raster[T][:: card.dates]
    window, times = how.grid.window(raster), _moments(raster, card.dates)
    made = made_whole(cube, raster, how, window, _ratio(raster, card, scale), times)
    if made is None:
        data = embed_tiles(padded.data, how, window, times)
    else:
        asked = _asked_for(raster, coords, card.stride)
        data = da.where(asked, vectors_of(made, how, window), np.float32(np.nan))
    embedding = xr.DataArray(
        data,
        dims=LATENT,
        coords=coords,
        attrs=_attributes(raster, card, how.grid, how.quantiser.document(), scale),
        name="embedding",
    )
    found: xr.DataArray = embedding.rio.write_crs(raster.rio.crs).rio.write_transform()
    return found


def embedding_entries(
    cube: xr.DataArray, card: ModelCard, *, quantization: str = QUANTIZATION
) -> Entries | None:
    """What the tile store in use keeps, or will keep, for `embed_cube` of a cube that was loaded.

    None if nobody knows what the cube's tiles are read from.

    Raises
    ------
    InvalidParameterError
        The card does not say which weights the model has; and what `embed_cube` raises.
    """
    if not stated(card):
        raise InvalidParameterError(
            f"The card of '{card.model_id}' has neither weights_sha256 nor a commit as revision: its "
            "vectors may be others tomorrow, and are not kept."
        )
    raster, how = _planned(cube, card, quantization, None, False)
    window, times = how.grid.window(raster), _moments(raster, card.dates)
    made = made_whole(cube, raster, how, window, _ratio(raster, card, None), times)
    return None if made is None else made.kept


def _planned(
    cube: xr.DataArray, card: ModelCard, quantization: str, device: str | None, any_resolution: bool
) -> tuple[xr.DataArray, Embedding]:
    """The cube with the card's bands only, and how its tiles become vectors."""
    raster, bands = _with_bands(complete(cube), card)
    if not any_resolution:
        _check_resolution(raster, card)
    _check_dates(raster, card)
    layout = Layout.of(card)
    return raster, Embedding(
        spec=ModelSpec.of(card, device),
        layout=layout,
        bands=bands,
        dates=card.dates,
        quantization=quantization,
        dim=card.dim,
        unit_norm=card.unit_norm,
        conditions=card.conditions,
        grid=TileGrid.of(raster, layout.tile),
    )


def _asked_for(
    raster: xr.DataArray, coords: Mapping[str, Any], stride: int
) -> npt.NDArray[np.bool_]:
    """`(y, x)`, of which patches the cube has pixels: tiles are computed whole."""

    def touched(name: str, size: float) -> npt.NDArray[np.bool_]:
        centres, pixels, reach = coords[name], raster[name].values, size * stride / 2
        inside = (centres > pixels.min() - reach) & (centres < pixels.max() + reach)
        return np.asarray(inside)

    res_x, res_y = resolution_of(raster)
    return np.logical_and.outer(touched(Y, res_y), touched(X, res_x))


def _with_bands(
    raster: xr.DataArray, card: ModelCard
) -> tuple[xr.DataArray, tuple[int | None, ...]]:
    """The cube with the card's bands only, and where each of these is in it."""
    given = labels(raster)
    missing = [band for band in card.bands if band not in given and band not in card.optional]
    present = [band for band in card.bands if band in given]
    if missing or not present:
        lacking = missing or list(card.bands)
        may = f" ({', '.join(card.optional)} may lack)" if card.optional else ""
        raise BandMismatchError(
            f"The cube lacks the bands {', '.join(lacking)}. '{card.model_id}' takes "
            f"{', '.join(card.bands)}{may}; given {', '.join(given)}. rename_labels gives bands "
            "the names that a model knows."
        )
    if repeated := [band for band in present if given.count(band) > 1]:
        raise BandMismatchError(f"The cube has the bands {', '.join(repeated)} more than once.")
    chosen = raster.isel({BANDS: [given.index(band) for band in present]})
    return chosen, tuple(present.index(b) if b in present else None for b in card.bands)


def _check_resolution(raster: xr.DataArray, card: ModelCard) -> None:
    if card.resolution is None:
        return
    metres = resolution_of(raster)[1]
    if (crs := crs_of(raster)).is_geographic:
        metres *= _DEGREE
    else:
        metres *= crs.linear_units_factor[1]
    if not card.resolution / _NEAR <= metres <= card.resolution * _NEAR:
        raise GridMismatchError(
            f"'{card.model_id}' was made for pixels of {card.resolution:g} m; those of the cube have "
            f"{metres:.4g} m. Use resample_spatial first, or the option any_resolution."
        )


def _check_dates(raster: xr.DataArray, card: ModelCard) -> None:
    if raster.sizes[T] % card.dates:
        raise InvalidParameterError(
            f"'{card.model_id}' takes {card.dates} dates at a time; the cube has {raster.sizes[T]}. "
            "Choose dates with filter_temporal or aggregate_temporal_period."
        )


def _numbers(raster: xr.DataArray, card: ModelCard, scale: float | None) -> xr.DataArray:
    """The cube in the card's units, float32 with NaN as no data (lazy)."""
    if raster.dtype.kind not in "iuf":
        raise DataTypeUnsupportedError(
            f"Models take integers and floats; the cube is {raster.dtype.name}."
        )
    ratio = _ratio(raster, card, scale)
    nodata = nodata_of(raster) if raster.dtype.kind in "iu" else None
    if ratio == 1.0 and raster.dtype == np.float32:
        return raster
    data = lazy(raster).data.map_blocks(
        multiply, ratio, np.float32, nodata=nodata, dtype=np.dtype(np.float32)
    )
    numbers = raster.copy(data=data)
    numbers.attrs.pop("_FillValue", None)
    return numbers


def _ratio(raster: xr.DataArray, card: ModelCard, scale: float | None) -> float:
    """Number of the card = number of the cube * ratio."""
    return 1.0 if card.scale is None else factor_to(raster, card.scale, scale)


def _moments(raster: xr.DataArray, dates: int) -> list[tuple[np.datetime64, ...] | None]:
    """Moments of as many dates in a row."""
    count = raster.sizes[T] // dates
    if T not in raster.coords or not np.issubdtype(raster[T].dtype, np.datetime64):
        return [None] * count
    return [tuple(raster[T].values[n * dates : (n + 1) * dates]) for n in range(count)]


def _attributes(
    raster: xr.DataArray, card: ModelCard, grid: TileGrid, document: Mapping[str, Any],
    scale: float | None,
) -> dict[str, Any]:  # fmt: skip
    res_x, res_y = resolution_of(raster)
    left = float(raster[X].values[0]) - res_x / 2
    top = float(raster[Y].values[0]) + res_y / 2
    model = {"id": card.model_id, "version": card.version, "weights_sha256": card.weights_sha256}
    attrs: dict[str, Any] = {
        TYPE: kind(card.stride),
        DIMENSIONS: card.dim,
        "nc:model": json.dumps(model),
        "nc:quantization": json.dumps(document),
        "nc:stride": card.stride,
        "nc:tile": grid.tile,
        "nc:grid": grid.id,
        "nc:bands": list(labels(raster)),
        "nc:bounds": [
            left, top - res_y * raster.sizes[Y], left + res_x * raster.sizes[X], top
        ],
        "nc:source_dtype": raster.dtype.name,
    }  # fmt: skip
    if (given := raster.attrs.get(SCALE) if scale is None else scale) is not None:
        attrs[SCALE] = float(given)
    return attrs
