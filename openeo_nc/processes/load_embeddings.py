"""The process load_embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.query import Query
from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    import xarray as xr


def load_embeddings(
    url: str,
    spatial_extent: Mapping[str, Any] | None = None,
    temporal_extent: Sequence[str | None] | None = None,
    bands: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """The embedding cube at a URL; see `cubes.embedding_reading`."""
    landmask = take(options, "landmask")["landmask"]
    if not isinstance(landmask, str | None):
        raise InvalidParameterError(f"landmask is a URL; given {landmask!r}.")
    query = Query.of(spatial_extent, temporal_extent)
    return load_vectors(url, query, bands, landmask=landmask)
