"""The openEO process load_collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes import stac
from openeo_nc.cubes.query import Query

if TYPE_CHECKING:
    import xarray as xr


def load_collection(
    id: str,
    spatial_extent: Mapping[str, Any] | None,
    temporal_extent: Sequence[str | None] | None,
    bands: Sequence[str] | None = None,
    properties: Mapping[str, Any] | None = None,
    resolution: float | Sequence[float] | None = None,
    crs: int | str | None = None,
    resampling: str | Mapping[str, str] = stac.RESAMPLING,
    mosaic: stac.Mosaic = "day",
) -> xr.DataArray:
    """A raster cube of a collection in a configured catalogue; see `cubes.stac.load`."""
    query = Query.of(spatial_extent, temporal_extent, properties)
    return stac.load(
        stac.collection_url(id),
        query,
        bands,
        resolution=resolution,
        crs=crs,
        resampling=resampling,
        mosaic=mosaic,
    )
