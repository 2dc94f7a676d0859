"""The openEO process load_stac."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import stac
from openeo_nc.cubes.query import Query

if TYPE_CHECKING:
    import xarray as xr


def load_stac(
    url: str,
    spatial_extent: Mapping[str, Any] | None = None,
    temporal_extent: Sequence[str | None] | None = None,
    bands: Sequence[str] | None = None,
    properties: Mapping[str, Any] | None = None,
    resolution: float | Sequence[float] | None = None,
    crs: int | str | None = None,
    resampling: str | Mapping[str, str] = stac.RESAMPLING,
    mosaic: stac.Mosaic = "day",
) -> xr.DataArray:
    """A raster cube of the items at a URL; see `cubes.stac.load`."""
    return stac.load(
        url,
        Query.of(spatial_extent, temporal_extent, properties),
        bands,
        resolution=resolution,
        crs=crs,
        resampling=resampling,
        mosaic=mosaic,
    )
