"""The openEO process ml_predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.ml import predicting
from openeo_nc.ml.model import MlModel

if TYPE_CHECKING:
    import xarray as xr


def ml_predict(data: xr.DataArray, model: MlModel) -> xr.DataArray:
    """What a model says of a cube, lazily; see `ml.predicting`."""
    return predicting.predict(data, model)
