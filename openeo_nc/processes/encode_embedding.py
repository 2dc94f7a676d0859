"""The openEO process encode_embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.encode import encode_cube
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    import xarray as xr


def encode_embedding(
    data: xr.DataArray,
    model: str,
    quality: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """The embedding cube of a raster cube; see `cubes.encode`."""
    scale = take(options, "scale")["scale"]
    return encode_cube(data, model, quality, scale)
