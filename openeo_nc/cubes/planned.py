"""How large a result that is to be saved will be, from its cube alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from openeo_nc.cubes.dims import T, X, Y
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.plain import SIDE

if TYPE_CHECKING:
    from openeo_nc.cubes.payloads import Payloads

_STRIPS = ("GTIFF", "NETCDF")
"""Formats whose tasks hold all columns of some rows of a date."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A result that is to be saved."""

    format: str
    """Its format; `memory` if it is computed only."""
    cube_bytes: int
    """Bytes of its values, uncompressed."""
    block_bytes: int
    """Bytes of these that one task has at once."""
    payloads: Payloads | None
    """What a store takes instead of values."""

    @classmethod
    def of(cls, form: str, data: Any) -> Planned:
        """That of a cube, or of a report, which is small."""
        if not isinstance(data, xr.DataArray):
            return cls(format=form, cube_bytes=0, block_bytes=0, payloads=None)
        payloads = payloads_of(data) if form == "ZARR" else None
        block = 0 if payloads is not None else _block(form, data) * data.dtype.itemsize
        return cls(format=form, cube_bytes=data.nbytes, block_bytes=block, payloads=payloads)


def _block(form: str, cube: xr.DataArray) -> int:
    """Values that a task holds."""
    sizes = {str(dim): size for dim, size in cube.sizes.items()}
    chunks = {str(dim): max(sizes_) for dim, sizes_ in cube.chunksizes.items()}
    if form in _STRIPS:
        return math.prod(
            {T: 1, Y: chunks.get(Y, size)}.get(dim, size) for dim, size in sizes.items()
        )
    if form == "ZARR":
        return math.prod(
            min({T: 1, X: SIDE, Y: SIDE}.get(dim, size), size) for dim, size in sizes.items()
        )
    return math.prod(chunks.get(dim, size) for dim, size in sizes.items())
