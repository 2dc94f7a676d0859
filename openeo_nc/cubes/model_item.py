"""Describes a codec as a STAC Item of the MLM extension: the model that stores link to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.conventions import model_urn

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard

MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
_ALWAYS = {
    "datetime": None,
    "start_datetime": "1900-01-01T00:00:00Z",
    "end_datetime": "9999-12-31T23:59:59Z",
}
"""A model has no date of its own; the extension's examples say it so."""


def model_item(card: CodecCard, *, weights_here: bool) -> dict[str, Any]:
    """The Item of a codec; it lies beside the weights if they are stored too.

    Parameters
    ----------
    weights_here
        Whether the weights lie beside it. If not, the asset names them by their hash.
    """
    names = list(card.bands or ())
    first = "bands" if names else "channel"
    pixels = {
        "shape": [len(names) or -1, -1, -1],
        "dim_order": [first, "height", "width"],
        "data_type": card.dtypes[0],
    }
    latents = {
        "shape": [card.latent_channels or -1, -1, -1],
        "dim_order": ["embedding", "height", "width"],
        "data_type": "int32",
    }
    tasks = ["generative", *(["similarity-search"] if card.embedding else [])]
    properties: dict[str, Any] = {
        "title": card.title,
        "description": card.description,
        "version": card.version,
        "license": card.licence,
        "mlm:name": card.codec_id,
        "mlm:architecture": card.architecture,
        "mlm:tasks": tasks,
        "mlm:framework": "PyTorch" if names else "NumPy",
        "mlm:input": [{"name": "tile", "bands": names, "input": pixels}],
        "mlm:output": [{"name": "latents", "tasks": tasks, "bands": [], "result": latents}],
        "nc:weights_sha256": card.weights_sha256,
        "nc:attributions": list(card.attributions),
    }
    file = card.weights or "card.json"
    asset: dict[str, Any] = {
        "href": f"./{file}" if weights_here else model_urn(card),
        "title": "Weights" if card.weights else "Card of a codec without weights",
        "type": "application/octet-stream" if card.weights else "application/json",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "safetensors.numpy.save" if card.weights else "json",
    }
    return mlm_item(card.codec_id, properties, asset, names)


def mlm_item(
    name: str,
    properties: Mapping[str, Any],
    asset: Mapping[str, Any],
    bands: Sequence[str] = (),
    *,
    extensions: Sequence[str] = (),
) -> dict[str, Any]:
    """An Item of the MLM extension, for a model that is of no place and no date.

    Parameters
    ----------
    asset
        The model's file, without its bands.
    bands
        Names of the bands that it takes; none if it takes any.
    extensions
        Others that its fields are of.
    """
    # MLM asks for bands in properties, STAC then in an asset too
    named = {"bands": [{"name": band} for band in bands]} if bands else {}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, *extensions],
        "id": name,
        "geometry": None,
        "properties": {**_ALWAYS, **properties, **named},
        "links": [],
        "assets": {"model": {**asset, **named}},
    }
