"""Describes saved embeddings in STAC: Items, their Collection, and the model's own Item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from openeo_nc.cubes.conventions import GEOEMB, SOURCE
from openeo_nc.cubes.embedding_attributes import TYPE, kind
from openeo_nc.cubes.item import EMBEDDING_VERSION, EMBEDDINGS, PROJECTION, Footprint, _dates
from openeo_nc.cubes.model_item import mlm_item
from openeo_nc.errors import CodecNotFoundError
from openeo_nc.models.registry import get_model_card

if TYPE_CHECKING:
    from openeo_nc.models.base import ModelCard
    from openeo_nc.models.quantisation import Quantiser

NOT_STATED = "urn:openeo_nc:source:not-stated"
"""Source data of a cube that does not say what it was made of."""
GEOJSON = "application/geo+json"
_KEPT = ("nc:stride", "nc:quantization", "nc:model", "nc:scale", "nc:bands")


def embedding_item(
    name: str,
    *,
    footprint: Footprint,
    times: Sequence[Any] | None,
    attrs: Mapping[str, Any],
    chosen: Quantiser,
    asset: Mapping[str, Any],
    links: Mapping[str, str],
    collection: str,
) -> dict[str, Any]:
    """The Item of one file or store.

    Parameters
    ----------
    name
        Its id.
    footprint
        Where the patches lie.
    times
        Moments of it.
    attrs
        Attributes of the cube.
    chosen
        What its integers are.
    asset
        The asset: href, type, title.
    links
        Relative href of each relation: `self`, `collection`, and `emb:model` if it is described.
    collection
        Id of its Collection.
    """
    model = _model(attrs)
    runtime: dict[str, Any] = {"model": model.get("id"), "model_version": model.get("version")}
    if "nc:stride" in attrs:
        runtime |= {"chip_size": attrs["nc:stride"], "stride": attrs["nc:stride"]}
    if "nc:bands" in attrs:
        runtime["bands"] = list(attrs["nc:bands"])
    return {
        "type": "Feature",
        "stac_version": EMBEDDING_VERSION,
        "stac_extensions": [PROJECTION, EMBEDDINGS],
        "id": name,
        "collection": collection,
        **footprint.geographic(),
        "properties": {
            **_dates(times),
            **footprint.properties(),
            **{key: attrs[key] for key in _KEPT if key in attrs},
            "nc:quantization": chosen.document(),
            "emb:runtime_parameters": {k: v for k, v in runtime.items() if v is not None},
            "emb:quantization": chosen.stac(),
        },
        "links": [*_links(links), *_provenance(attrs, links)],
        "assets": {"embeddings": {"roles": ["data"], **asset}},
    }


def embedding_collection(
    name: str,
    items: Sequence[Mapping[str, Any]],
    hrefs: Sequence[str],
    *,
    attrs: Mapping[str, Any],
    chosen: Quantiser,
    size: float | None,
    model: str | None,
) -> dict[str, Any]:
    """The Collection of Items.

    Parameters
    ----------
    items, hrefs
        Items, and where they lie beside it.
    size
        Side of a patch in m, if it has one.
    model
        Relative href of the model's Item, if there is one.
    """
    boxes = [item["bbox"] for item in items if "bbox" in item]
    moments = [
        (p.get("start_datetime") or p["datetime"], p.get("end_datetime") or p["datetime"])
        for p in (item["properties"] for item in items)
    ]
    low, high = (min(m[0] for m in moments), max(m[1] for m in moments))
    known = {"emb:model": model} if model else {}
    return {
        "type": "Collection",
        "stac_version": EMBEDDING_VERSION,
        "stac_extensions": [EMBEDDINGS],
        "id": name,
        "description": f"Embeddings of {_model(attrs).get('id', 'a model that is not stated')}.",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [_around(boxes)]},
            "temporal": {"interval": [[low, high]]},
        },
        "emb:type": _kind(attrs),
        "emb:dimensions": chosen.dim,
        "data_type": chosen.dtype,
        **({"gsd": size} if size else {}),
        **layout(attrs, "emb:"),
        "links": [
            *({"rel": "item", "href": href, "type": GEOJSON} for href in hrefs),
            *_provenance(attrs, known),
        ],
    }


def _kind(attrs: Mapping[str, Any]) -> str:
    """What the cube says that a vector is of; where its patches were resampled it says no stride."""
    return str(attrs.get(TYPE, kind(attrs.get("nc:stride"))))


def layout(attrs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The field chip_layout, where the stride is known."""
    if not isinstance(attrs.get("nc:stride"), int):
        return {}
    patch = [attrs["nc:stride"]] * 2
    return {
        f"{prefix}chip_layout": {
            "layout_type": "regular_grid", "chip_size": patch, "stride": patch,
        }
    }  # fmt: skip


def geoemb(attrs: Mapping[str, Any], chosen: Quantiser, size: float | None) -> dict[str, Any]:
    """geoemb: attributes of a Zarr group."""
    return {
        **({"geoemb:gsd": size} if size else {}),
        "zarr_conventions": [GEOEMB],
        "geoemb:type": _kind(attrs),
        "geoemb:dimensions": chosen.dim,
        "geoemb:model": model_urn(attrs),
        "geoemb:source_data": str(attrs.get(SOURCE, NOT_STATED)),
        "geoemb:data_type": chosen.dtype,
        **layout(attrs, "geoemb:"),
        "geoemb:quantization": chosen.stac(),
    }


def model_urn(attrs: Mapping[str, Any]) -> str:
    """A name of a cube's model that is the same wherever it lies."""
    model = _model(attrs)
    parts = [model.get(key) for key in ("id", "version", "weights_sha256")]
    return ":".join(["urn:openeo_nc:model", *map(str, filter(None, parts))])


def model_document(attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The MLM Item of a cube's model, if its card is known here."""
    try:
        return model_item(get_model_card(str(_model(attrs).get("id"))))
    except CodecNotFoundError:
        return None


def model_item(card: ModelCard) -> dict[str, Any]:
    """A model's card as a STAC Item of the MLM extension."""
    names = list(card.bands)
    chip = {
        "shape": [len(names) or -1, card.chip or -1, card.chip or -1],
        "dim_order": ["bands" if names else "channel", "height", "width"],
        "data_type": "float32",
    }
    vectors = {
        "shape": [card.dim, -1, -1],
        "dim_order": ["embedding", "height", "width"],
        "data_type": "float32",
    }
    tasks = ["similarity-search"]
    properties: dict[str, Any] = {
        "title": card.title,
        "description": card.description,
        "version": card.version,
        "license": card.licence,
        "mlm:name": card.model_id,
        "mlm:architecture": card.architecture,
        "mlm:tasks": tasks,
        "mlm:framework": "PyTorch",
        "mlm:input": [{"name": "chip", "bands": names, "input": chip}],
        "mlm:output": [{"name": "vectors", "tasks": tasks, "bands": [], "result": vectors}],
        "nc:weights_sha256": card.weights_sha256,
        "nc:attributions": list(card.attributions),
    }
    told = {"nc:model": json.dumps({"id": card.model_id, "version": card.version,
                                    "weights_sha256": card.weights_sha256})}  # fmt: skip
    asset: dict[str, Any] = {
        "href": model_urn(told),
        "title": "Weights" if card.weights else "Card",
        "type": "application/octet-stream" if card.weights else "application/json",
        "roles": ["mlm:model"],
        "mlm:artifact_type": "safetensors.torch.save_file" if card.weights else "json",
    }
    return mlm_item(card.model_id, properties, asset, names)


def _model(attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        told = json.loads(str(attrs.get("nc:model", "{}")))
    except ValueError:
        return {}
    return told if isinstance(told, Mapping) else {}


def _links(links: Mapping[str, str]) -> list[dict[str, str]]:
    types = {"self": GEOJSON, "collection": "application/json"}
    return [
        {"rel": rel, "href": links[rel], "type": kind_} for rel, kind_ in types.items()
        if rel in links
    ]  # fmt: skip


def _provenance(attrs: Mapping[str, Any], links: Mapping[str, str]) -> list[dict[str, str]]:
    """The links to model and source that the extension asks for."""
    model = {"rel": "emb:model", "href": links.get("emb:model", model_urn(attrs))}
    if "emb:model" in links:
        model["type"] = GEOJSON
    return [model, {"rel": "emb:source-data", "href": str(attrs.get(SOURCE, NOT_STATED))}]


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    west, south, east, north = zip(*boxes, strict=True)
    return [min(west), min(south), max(east), max(north)]
