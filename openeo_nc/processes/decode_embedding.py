"""The openEO process decode_embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from openeo_nc.cubes.decode import decode_cube

if TYPE_CHECKING:
    import xarray as xr


def decode_embedding(data: xr.DataArray, bands: Sequence[str] | None = None) -> xr.DataArray:
    """The raster cube that an embedding cube decodes to; see `cubes.decode`."""
    return decode_cube(data, bands)
