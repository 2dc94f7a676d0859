"""The openEO process ml_predict_probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.ml import predicting
from openeo_nc.ml.model import MlModel

if TYPE_CHECKING:
    import xarray as xr


def ml_predict_probabilities(data: xr.DataArray, model: MlModel) -> xr.DataArray:
    """How probable a model finds each class, lazily; see `ml.predicting`."""
    return predicting.probabilities(data, model)
