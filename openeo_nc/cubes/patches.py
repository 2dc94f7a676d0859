"""The labels of embedding cubes: one a value of a vector, one a patch."""

from __future__ import annotations

from typing import Any

import xarray as xr

from openeo_nc.cubes.dims import EMBEDDING, X, Y
from openeo_nc.cubes.grid import centres, resolution_of
from openeo_nc.models.layout import labels_of


def patch_coords(padded: xr.DataArray, stride: int, dim: int) -> dict[str, Any]:
    """Labels of embedding, y and x for a cube of whole tiles: patch centres in its CRS."""
    res_x, res_y = resolution_of(padded)
    left = float(padded[X].values[0]) - res_x / 2
    top = float(padded[Y].values[0]) + res_y / 2
    return {
        EMBEDDING: labels_of(dim),
        Y: centres(top, -res_y * stride, padded.sizes[Y] // stride),
        X: centres(left, res_x * stride, padded.sizes[X] // stride),
    }
