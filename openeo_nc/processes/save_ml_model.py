"""The openEO process save_ml_model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo_nc.ml import saving
from openeo_nc.ml.model import MlModel
from openeo_nc.processes._options import take


def save_ml_model(data: MlModel, name: str, options: Mapping[str, Any] | None = None) -> bool:
    """Save a model beside the run's other results; true, as an error is raised otherwise."""
    take(options)
    saving.save(data, name)
    return True
