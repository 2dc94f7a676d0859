"""The openEO process encode_embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openeo_nc.codecs.registry import list_codecs
from openeo_nc.cubes.embed import QUANTIZATION, embed_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.encoders import known_model
from openeo_nc.errors import CodecNotFoundError, InvalidParameterError
from openeo_nc.models.base import ModelCard
from openeo_nc.models.registry import list_models
from openeo_nc.processes._options import take

if TYPE_CHECKING:
    import xarray as xr


def encode_embedding(
    data: xr.DataArray,
    model: str | ModelCard,
    quality: float | None = None,
    quantization: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """The embedding cube of a raster cube; see `cubes.encode` and `cubes.embed`."""
    card = model if isinstance(model, ModelCard) else _model(model)
    if card is None:
        if quantization is not None:
            raise InvalidParameterError(
                f"'{model}' is a codec: its latents are on the lattice of its own quantiser, which "
                "quality sets. quantization is for models."
            )
        return encode_cube(data, str(model), quality, take(options, "scale")["scale"])
    if quality is not None:
        raise InvalidParameterError(
            f"'{card.model_id}' has no levels of quality, which codecs have; use quantization."
        )
    given = take(options, "scale", "any_resolution")
    return embed_cube(
        data,
        card,
        quantization=QUANTIZATION if quantization is None else quantization,
        scale=given["scale"],
        any_resolution=bool(given["any_resolution"]),
    )


def _model(name: str) -> ModelCard | None:
    """The card of a model's id or of an Item's address; None for a codec's id."""
    codecs = {card.codec_id: card.embedding for card in list_codecs()}
    card = known_model(name)
    if card is None and name != "auto" and name not in codecs:
        models = ", ".join(sorted(found.model_id for found in list_models()))
        comparing = ", ".join(sorted(codec for codec, embedding in codecs.items() if embedding))
        raise CodecNotFoundError(
            f"unknown model '{name}'; known models: {models}; codecs whose latents compare: "
            f"{comparing}."
        )
    return card
