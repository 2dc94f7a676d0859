"""The openEO process load_stac_ml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_nc.cubes.encoders import load_encoder

if TYPE_CHECKING:
    from openeo_nc.models.base import ModelCard


def load_stac_ml(
    uri: str, model_asset: str | None = None, input_index: int = 0, output_index: int = 0
) -> ModelCard:
    """The encoder that a STAC Item describes; see `models.mlm`."""
    return load_encoder(uri, asset=model_asset, input_index=input_index, output_index=output_index)
