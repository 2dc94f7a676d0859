"""A trained model as files: a STAC Item of the MLM extension, and its parameters as safetensors.

        land-cover/land-cover.json            the Item: all that is text
        land-cover/land-cover.weights         arrays (safetensors), whose SHA-256 the Item states

Neither is a program: reading them runs nothing, whoever wrote them. What they say is checked before
it is used, as far as to make damage an error and every walk through a forest end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from openeo_nc.cubes.model_item import mlm_item
from openeo_nc.errors import CardInvalidError, WeightsInvalidError
from openeo_nc.ml.kinds import KINDS
from openeo_nc.ml.model import Array, Fitted, Label, Learner, Subject

FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
ROLE = "mlm:model"
SUFFIX = ".weights"
"""Of files of parameters; openEO's Python client renames files whose suffix is longer than this."""
MARK = "nc:learner"
"""Property that tells Items of this package's learners from those of encoders."""
MOST = 1 << 30
"""Bytes of parameters at most."""
_SHA256 = "1220"  # of multihashes
_ARCHITECTURES = {
    "forest": "random forest", "linear": "linear", "mlp": "multi-layer perceptron",
}  # fmt: skip


def item_of(fitted: Fitted, name: str, data: bytes) -> dict[str, Any]:
    """The Item of a model whose parameters are `data`."""
    learner, subject = fitted.learner, fitted.subject
    width = len(subject.features)
    taken = {
        "name": "vector", "bands": [],
        "input": {
            "shape": [-1, width], "dim_order": ["batch", "embedding"], "data_type": "float32",
        },
    }  # fmt: skip
    columns = len(fitted.classes) or 1
    given: dict[str, Any] = {
        "name": subject.target or "prediction", "tasks": [learner.task], "bands": [],
        "result": {
            "shape": [-1, columns], "dim_order": ["batch", "class"], "data_type": "float32",
        },
    }  # fmt: skip
    if fitted.classes:
        given["classification:classes"] = [
            {"value": number, "name": str(label)} for number, label in enumerate(fitted.classes)
        ]
    properties = {
        "title": name,
        "description": f"Tells {subject.target or 'a target'} from {width} values.",
        "mlm:name": name,
        "mlm:architecture": _ARCHITECTURES[learner.kind],
        "mlm:tasks": [learner.task],
        "mlm:framework": "NumPy",
        "mlm:total_parameters": int(sum(array.size for array in fitted.arrays.values())),
        "mlm:hyperparameters": dict(learner.settings),
        "mlm:input": [taken],
        "mlm:output": [given],
        MARK: learner.kind,
        "nc:features": list(subject.features),
        "nc:classes": list(fitted.classes),
        "nc:training": dict(fitted.facts),
    }
    if subject.embedding:
        properties["nc:model"] = dict(subject.embedding)
    asset = {
        "href": f"./{name}{SUFFIX}",
        "title": "Parameters",
        "type": "application/octet-stream",
        "roles": [ROLE],
        "mlm:artifact_type": "safetensors.numpy.save",
        "file:size": len(data),
        "file:checksum": _SHA256 + hashlib.sha256(data).hexdigest(),
    }
    return mlm_item(name, properties, asset, extensions=[FILE])


def parameters_of(fitted: Fitted) -> bytes:
    """The parameters as safetensors."""
    arrays = {name: np.ascontiguousarray(array) for name, array in fitted.arrays.items()}
    return bytes(safetensors.numpy.save(arrays))


def is_learner(item: Mapping[str, Any]) -> bool:
    """Whether an Item is that of a model that `save_ml_model` wrote."""
    return MARK in (item.get("properties") or {})


def described(item: Mapping[str, Any]) -> tuple[Learner, Subject, tuple[Label, ...]]:
    """How a model was trained, on what, and its classes.

    Raises
    ------
    CardInvalidError
    """
    given = item["properties"]
    try:
        task, kind = given["mlm:tasks"][0], str(given[MARK])
        settings = dict(given["mlm:hyperparameters"])
        features = tuple(str(name) for name in given["nc:features"])
        classes = tuple(given["nc:classes"])
        target = str(given["mlm:output"][0].get("name", ""))
        embedding = dict(given.get("nc:model", {}))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _fault(item, f"it lacks what models need ({error!r})") from error
    if kind not in KINDS or task not in ("classification", "regression") or not features:
        raise _fault(item, f"'{kind}' for {task} of {len(features)} features is not known here")
    texts = {type(label) for label in classes}
    if (len(classes) < 2) == (task == "classification") or (
        not texts <= {str} and not texts <= {int}
    ):
        raise _fault(item, "its classes are neither texts nor whole numbers, or too few")
    subject = Subject(features=features, embedding=embedding, target=target)
    return Learner(kind=kind, task=task, settings=settings), subject, classes


def parameters_at(item: Mapping[str, Any], href: str) -> tuple[str, str]:
    """Address and SHA-256 (hex) of the parameters; CardInvalidError if they are not stated."""
    found = [a for a in (item.get("assets") or {}).values() if ROLE in a.get("roles", ())]
    checksum = str(found[0].get("file:checksum", "")) if len(found) == 1 else ""
    digest = checksum.removeprefix(_SHA256)
    if len(digest) != 64 or not checksum.startswith(_SHA256) or not found[0].get("href"):
        raise _fault(item, f"it has not one asset with the role {ROLE} and its SHA-256")
    return urljoin(href, str(found[0]["href"])), digest


def restored(
    data: bytes, sha256: str, learner: Learner, subject: Subject, classes: tuple[Label, ...]
) -> Fitted:
    """The model of parameters.

    Raises
    ------
    WeightsInvalidError
        They are damaged, or not those of such a model.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsInvalidError(
            "The parameters of the model have another hash than its Item says."
        )
    try:
        arrays = safetensors.numpy.load(data)
        fits = _fit(arrays, learner, len(subject.features), len(classes) or 1)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsInvalidError(f"The parameters of the model are none: {error!r}") from error
    if not fits:
        raise WeightsInvalidError(
            "The parameters are not those of the model that its Item describes."
        )
    return Fitted(learner=learner, subject=subject, classes=classes, arrays=arrays, facts={})


def _fit(arrays: Mapping[str, Array], learner: Learner, features: int, columns: int) -> bool:
    kind = KINDS[learner.kind]
    shapes = kind.shapes(features, columns, learner)
    if arrays.keys() != shapes.keys():
        return False
    free = {array.shape[0] for name, array in arrays.items() if shapes[name][:1] == (-1,)}
    right = all(
        len(array.shape) == len(shapes[name])
        and all(own in (-1, size) for own, size in zip(shapes[name], array.shape, strict=True))
        and np.isfinite(array).all()
        for name, array in arrays.items()
    )
    return len(free) <= 1 and right and kind.sound(arrays, features)


def _fault(item: Mapping[str, Any], text: str) -> CardInvalidError:
    return CardInvalidError(f"Model '{str(item.get('id', '?'))[:80]}': {text}.")
