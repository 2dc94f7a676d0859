"""Loads a UDF as a backend does, writes its weights into it and its card beside it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt

from udfs.fit.embedded import QUANTIZATION, encoder

_DIGITS = 5
Array = npt.NDArray[Any]
FOLDER = Path(__file__).resolve().parents[1]
COPERNICUS = "Contains modified Copernicus Sentinel data 2016 to 2023"
CHOSEN = "The strength of regularisation and the scale were chosen with a look at scores of these places."
EMBEDDINGS = (
    "vectors of s2-embed-small, `(..., embedding: 64)` float32, as encode_embedding gives them"
)
_WEIGHTS = re.compile(r'^WEIGHTS = json\.loads\("""\n?(.*?)"""\)$', re.MULTILINE | re.DOTALL)


def udf(name: str) -> ModuleType:
    """The functions of a UDF."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(name: str) -> str:
    """What a user sends."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def write(name: str, weights: Mapping[str, Any] | None, card: Mapping[str, Any]) -> None:
    """Write weights into the UDF, if it has any, and its card beside it."""
    if weights is not None:
        text = _WEIGHTS.sub(lambda _: f'WEIGHTS = json.loads("""\n{_rows(weights)}""")', code(name))
        (FOLDER / f"{name}.py").write_text(text, encoding="utf-8")
    document = {"name": name, "command": f"python -m udfs.fit.{name} --data ../shared/data"}
    text = json.dumps(document | dict(card), indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def rows(matrix: Array) -> list[Any]:
    """Numbers of a vector or matrix with as many digits as weights have in files."""
    if matrix.ndim > 1:
        return [rows(row) for row in matrix]
    return [float(f"{value:.{_DIGITS}g}") for value in matrix]


def encoder_document() -> dict[str, Any]:
    """What cards say of the encoder."""
    card = encoder()
    return {
        "id": card.model_id,
        "version": card.version,
        "weights_sha256": card.weights_sha256,
        "quantization": QUANTIZATION,
    }


def _rows(weights: Mapping[str, Any]) -> str:
    """JSON with a row of a matrix a line."""
    fields = []
    for field, value in weights.items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            fields.append(f' "{field}": [\n  {rows}\n ]')
        else:
            fields.append(f' "{field}": {json.dumps(value)}')
    return "{\n" + ",\n".join(fields) + "\n}\n"
