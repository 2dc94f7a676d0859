"""The openEO process load_ml_model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.cubes.encoders import is_address, known_model
from openeo_nc.errors import CodecNotFoundError
from openeo_nc.ml import loading
from openeo_nc.models.registry import list_models

if TYPE_CHECKING:
    from openeo_nc.ml.model import MlModel
    from openeo_nc.models.base import ModelCard


def load_ml_model(id: str) -> ModelCard | MlModel:
    """An installed embedding model; or one that was saved, or an encoder, at an Item's address."""
    if is_address(id) and (saved := loading.load(id)) is not None:
        return saved
    card = known_model(id)
    if card is None:
        known = ", ".join(sorted(found.model_id for found in list_models()))
        raise CodecNotFoundError(f"unknown model '{id}'; known models: {known}.")
    return card
