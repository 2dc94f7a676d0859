"""The openEO process ml_fit."""

from __future__ import annotations

from typing import Any

from openeo_nc.ml import fitting
from openeo_nc.ml.model import Learner, MlModel


def ml_fit(model: Learner, training_set: Any, target: str, labels: Any = None) -> MlModel:
    """The trained model, lazily; see `ml.training_set`."""
    return fitting.fit(model, training_set, target, labels)
