"""What a cube's attributes say of its embeddings, kept true when processes make other cubes of it.

xarray keeps attributes through arithmetic, so whatever a process did, `emb:dimensions` or the stride
of patches would be those of the cube before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING
from openeo_nc.cubes.embedding_codes import QUANTIZATION, stated, text_of
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.payloads import ATTRIBUTE as PAYLOADS
from openeo_nc.errors import CRSMissingError, DimensionMissingError, GridMismatchError
from openeo_nc.models.quantisation import DEFAULT, quantiser

TYPE, DIMENSIONS = "emb:type", "emb:dimensions"
GRID = ("nc:stride", "nc:tile", "nc:grid", "nc:bounds")
"""Attributes of the grid of patches."""
OWN = (
    TYPE, DIMENSIONS, *GRID, QUANTIZATION, PAYLOADS, "nc:model", "nc:codec", "nc:quality",
    "nc:weights_sha256", "nc:bitstream", "nc:step", "nc:bands", "nc:scale", "nc:source_dtype",
    "nc:dtype", "nc:nodata",
)  # fmt: skip
"""Attributes that an embedding cube has because it is one."""


def kind(stride: Any) -> str:
    """What one vector is of, in the words of the STAC extension: a `pixel`, or a `chip` of more."""
    return "pixel" if stride == 1 else "chip"


def settled(before: xr.DataArray, after: Any) -> Any:
    """What a process made of an embedding cube, without attributes that are no longer true.

    Without its dimension it is no embedding cube. On another grid its patches are others. Fewer
    dimensions go into integers anew; more are of several models, each of its own magnitude, which
    integers with one scale a vector would not hold.
    """
    if EMBEDDING not in before.dims or not isinstance(after, xr.DataArray):
        return after
    if EMBEDDING not in after.dims:
        return _without(after, OWN)
    found = _without(after, () if _same_grid(before, after) else GRID)
    size = after.sizes[EMBEDDING]
    if TYPE in found.attrs:
        found.attrs[DIMENSIONS] = size
    if (chosen := stated(found)) is not None and chosen.dim != size:
        del found.attrs[QUANTIZATION]
        if chosen.dim > size:
            found.attrs[QUANTIZATION] = text_of(quantiser(DEFAULT, dim=size))
    return found


def _without(cube: xr.DataArray, names: Iterable[str]) -> xr.DataArray:
    kept = cube.copy(deep=False)
    kept.attrs = {name: value for name, value in cube.attrs.items() if name not in names}
    return kept


def _same_grid(one: xr.DataArray, two: xr.DataArray) -> bool:
    """Whether two cubes have places on one grid."""
    try:
        return TileGrid.of(one, 1).id == TileGrid.of(two, 1).id
    except (DimensionMissingError, CRSMissingError, GridMismatchError):
        return False
