"""Reads the card of an encoder out of a STAC Item of the MLM extension.

    mlm:input    bands, shape and order of dimensions, value_scaling     -> bands, chip, mean and std
    mlm:output   shape and order of dimensions                           -> dim, stride, pooling
    asset        role mlm:model; its file's kind and checksum            -> architecture, SHA-256

What MLM has no field for may stand in the Item's properties or `mlm:hyperparameters`: `nc:stride`,
`nc:chip`, `nc:margin`, `nc:scale`, `nc:unit_norm`, `nc:resolution` (else `gsd`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from openeo_nc.errors import CardInvalidError
from openeo_nc.models.base import ModelCard
from openeo_nc.models.files import MOST
from openeo_nc.models.registry import parse_model_card

Json = Mapping[str, Any]
ROLE = "mlm:model"
_NAMES = {
    "batch": "batch", "bands": "bands", "band": "bands", "channel": "bands", "channels": "bands",
    "height": "height", "y": "height", "width": "width", "x": "width",
    "time": "time", "temporal": "time",
    "token": "token", "tokens": "token", "patch": "token", "patches": "token", "sequence": "token",
}  # fmt: skip
"""Names of dimensions that Items use."""
_IMAGES = (("batch", "bands", "height", "width"), ("batch", "time", "bands", "height", "width"))
_NO_RESIZING = (None, "crop", "pad")
"""Kinds of `resize_type` that leave pixels as they are."""
_MULTIHASH = re.compile(r"1220([0-9a-f]{64})")


def card_of_item(
    item: Json, href: str, *, asset: str | None = None, input_index: int = 0, output_index: int = 0
) -> ModelCard:
    """The card of the encoder that an Item describes.

    Parameters
    ----------
    href
        URL or path of the Item, which its assets are relative to.
    asset
        Key of the asset with the model; needed only if several have its role.
    input_index, output_index
        Which input and output.

    Raises
    ------
    CardInvalidError
        The Item does not say what is needed, or describes what is not supported.
    """
    name = str(item.get("id", "?"))
    given = item.get("properties", {})
    more = {**given.get("mlm:hyperparameters", {}), **given}
    pixels = _nth(given, "mlm:input", input_index, name)
    result = _nth(given, "mlm:output", output_index, name)
    _complete(pixels, result, name)
    shape = _image(pixels["input"], name)
    bands = [band if isinstance(band, str) else band["name"] for band in pixels.get("bands", [])]
    if len(bands) != shape["bands"]:
        raise _fault(name, f"its input has {len(bands)} names of bands for {shape['bands']}")
    chip = _chip(shape, more, name)
    mean, std = _scaling(pixels.get("value_scaling"), len(bands), name)
    file = _file(item, asset, href, name)
    output = _output(result["result"], chip, more, name)
    margin = _margin(more, chip, output)
    return parse_model_card(
        {
            "model_id": re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "model",
            "title": given.get("title") or given.get("mlm:name", name),
            "description": given.get("description") or f"As {name} says.",
            "version": str(given.get("version", "")),
            "bands": bands,
            "units": "as the cube's numbers" if "nc:scale" not in more else "number * scale",
            "scale": more.get("nc:scale"),
            "mean": mean,
            "std": std,
            "resolution": more.get("nc:resolution", given.get("gsd")),
            "dates": shape.get("time", 1),
            "chip": chip,
            "margin": margin,
            "unit_norm": bool(more.get("nc:unit_norm", False)),
            "licence": given.get("license", "other"),
            **output,
            **file,
        },
        f"MLM item '{name}'",
    )


def _nth(given: Json, field: str, index: int, name: str) -> Json:
    found = given.get(field)
    if not isinstance(found, list) or not 0 <= index < len(found):
        raise _fault(name, f"it has no {field} of index {index}")
    return dict(found[index])


def _complete(pixels: Json, result: Json, name: str) -> None:
    """Refuse what would change vectors and cannot be done: functions of the Item's, resizing."""
    for told, field in ((pixels, "pre_processing_function"), (result, "post_processing_function")):
        if told.get(field) is not None:
            raise _fault(
                name, f"it has a {field}, which is not run here; state means and deviations in "
                "value_scaling, or put the function into the model's file"
            )  # fmt: skip
    if (resize := pixels.get("resize_type")) not in _NO_RESIZING:
        raise _fault(
            name, f"its pixels are to be resized ({resize}); chips are cut at the cube's own pixels"
        )


def _named(structure: Json, name: str) -> dict[str, int]:
    """Sizes by name; a dimension of the vector's values is `embedding`."""
    order, sizes = structure.get("dim_order", ()), structure.get("shape", ())
    if len(order) != len(sizes):
        raise _fault(name, f"shape {sizes} and dim_order {order} have different lengths")
    return {_NAMES.get(dim, "embedding"): int(n) for dim, n in zip(order, sizes, strict=True)}


def _image(structure: Json, name: str) -> dict[str, int]:
    shape = _named(structure, name)
    if tuple(shape) not in _IMAGES:
        raise _fault(
            name,
            f"its input is {', '.join(structure['dim_order'])}; expected {', '.join(_IMAGES[0])}",
        )
    return shape


def _chip(shape: Json, more: Json, name: str) -> int | None:
    height, width = shape["height"], shape["width"]
    if height != width:
        raise _fault(name, f"its chips are {height} x {width}; expected squares")
    chip = more.get("nc:chip", height if height > 0 else None)
    return None if chip is None else int(chip)


def _scaling(rules: Any, bands: int, name: str) -> tuple[list[float], list[float]]:
    """What is subtracted and divided by: one rule for all bands, or one for each."""
    if not rules:
        return [0.0] * bands, [1.0] * bands
    rules = list(rules) * (bands if len(rules) == 1 else 1)
    if len(rules) != bands:
        raise _fault(name, f"it has {len(rules)} rules of value_scaling for {bands} bands")
    pairs = [_pair(rule, name) for rule in rules]
    return [mean for mean, _ in pairs], [std for _, std in pairs]


def _pair(rule: Json, name: str) -> tuple[float, float]:
    match rule:
        case {"type": "z-score", "mean": mean, "stddev": std}:
            return float(mean), float(std)
        case {"type": "min-max", "minimum": low, "maximum": high}:
            return float(low), float(high) - float(low)
        case {"type": "offset", "value": value}:
            return float(value), 1.0
        case {"type": "scale", "value": value}:
            return 0.0, float(value)
    raise _fault(
        name, f"value_scaling of type '{rule.get('type')}' is not supported; z-score, min-max, "
        "offset and scale are"
    )  # fmt: skip


def _output(structure: Json, chip: int | None, more: Json, name: str) -> dict[str, Any]:
    """dim, stride, pooling, and the order of dimensions."""
    shape = _named(structure, name)
    if "bands" in shape and "embedding" not in shape:  # channels of a map of patches
        shape = {("embedding" if dim == "bands" else dim): n for dim, n in shape.items()}
    dim = shape.get("embedding", -1)
    if dim < 1:
        raise _fault(name, f"its output {structure['dim_order']} has no size for a vector's values")
    inner = tuple(d for d in shape if d not in ("batch", "embedding"))
    options = {"order": list(shape)}
    if not inner:
        stride = int(more.get("nc:stride", chip or 0))
        if stride < 1:
            raise _fault(name, "it gives a vector a chip, and chips have no size")
        return {"dim": dim, "stride": stride, "pooling": "mean", "options": options}
    if inner not in (("token",), ("height", "width")):
        raise _fault(name, f"its output {structure['dim_order']} is no map, tokens or vectors")
    stride = int(more.get("nc:stride", 0)) or _stride(shape, chip)
    if stride < 1:
        raise _fault(name, "how large a patch is cannot be told; state nc:stride")
    return {"dim": dim, "stride": stride, "pooling": "none", "options": options}


def _stride(shape: Json, chip: int | None) -> int:
    patches = shape["height"] if "height" in shape else math.isqrt(max(shape["token"], 0))
    return chip // patches if chip is not None and patches > 0 else 0


def _margin(more: Json, chip: int | None, output: Json) -> int:
    """As stated; else chips share a quarter, an eighth on each side, in whole patches."""
    if "nc:margin" in more:
        return int(more["nc:margin"])
    if chip is None or output["pooling"] != "none":
        return 0
    stride: int = output["stride"]
    return min(-(-chip // (8 * stride)) * stride, (chip // stride - 1) // 2 * stride)


def _file(item: Json, asset: str | None, href: str, name: str) -> dict[str, Any]:
    """Architecture, hash and address of the file with the model."""
    assets = item.get("assets", {})
    models = [key for key, one in assets.items() if ROLE in one.get("roles", ())]
    if asset is None and len(models) != 1:
        raise _fault(
            name, f"the assets {', '.join(models) or '(none)'} have the role {ROLE}; name one"
        )
    if (key := asset or models[0]) not in models:
        raise _fault(name, f"asset '{key}' does not have the role {ROLE}; {', '.join(models)} have")
    found = assets[key]
    checksum = _MULTIHASH.fullmatch(str(found.get("file:checksum", "")).lower())
    if checksum is None:
        raise _fault(name, f"asset '{key}' states no SHA-256 in file:checksum (1220 and 64 digits)")
    if int(found.get("file:size", 0)) > MOST:
        raise _fault(name, f"asset '{key}' has {found['file:size']} bytes; at most {MOST} are read")
    return {
        "architecture": _architecture(item, found, name),
        "weights_sha256": checksum[1],
        "source": {"href": urljoin(href, found["href"]), "item": href},
    }


def _architecture(item: Json, asset: Json, name: str) -> str:
    told = " ".join(
        str(part).lower()
        for part in (
            asset.get("mlm:artifact_type"), asset.get("type"), asset["href"].partition("?")[0],
            asset.get("mlm:framework", item["properties"].get("mlm:framework")),
        )
    )  # fmt: skip
    if "onnx" in told:
        return "onnx_model"
    if "torch.jit" in told or "torchscript" in told:
        return "torchscript"
    raise _fault(
        name, "its model is neither ONNX nor TorchScript (mlm:artifact_type torch.jit.save)"
    )


def _fault(name: str, text: str) -> CardInvalidError:
    return CardInvalidError(f"MLM item '{name}': {text}.")
