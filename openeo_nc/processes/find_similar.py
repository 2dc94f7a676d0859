"""The openEO process find_similar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openeo_nc.search import similar

if TYPE_CHECKING:
    import xarray as xr


def find_similar(
    data: xr.DataArray | str, query: Any, k: int = 10, filters: Mapping[str, Any] | None = None
) -> Any:
    """The patches with the vectors nearest a query, a lazy vector cube; see `search.similar`."""
    return similar.find_similar(data, query, k, filters)
