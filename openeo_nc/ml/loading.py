"""Loads a model that was saved: its Item now, its parameters in a task of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from dask.delayed import delayed

from openeo_nc.cubes import addresses
from openeo_nc.cubes.addresses import Guard
from openeo_nc.cubes.catalogue import locate, read_json
from openeo_nc.errors import CardInvalidError, WeightsInvalidError, WeightsNotFoundError
from openeo_nc.ml.files import MOST, described, is_learner, parameters_at, restored
from openeo_nc.ml.model import Fitted, Label, Learner, MlModel, Subject

_BLOCK = 1 << 20
_MOST_ITEMS = 100


def load(uri: str) -> MlModel | None:
    """The model of an Item that `save_ml_model` wrote, or of the results of a job that has one.

    None if it is the Item of something else. Reads documents, no parameters; under a server's guard
    these may lie at any public address, as neither is a program.

    Raises
    ------
    AddressRefusedError, InvalidParameterError
        The address is not read here, or holds no JSON object.
    CardInvalidError
        The Item does not say what is needed, or results hold no model, or several.
    """
    href = uri if addresses.guard() is not None else locate(uri)
    document: Mapping[str, Any] = read_json(href)
    if document.get("type") == "Collection":
        href, document = _item_among(document, href)
    return model_of(document, href) if is_learner(document) else None


def model_of(item: Mapping[str, Any], href: str) -> MlModel:
    """The model that an Item describes, its parameters not yet read.

    Raises
    ------
    CardInvalidError
        The Item does not say what is needed.
    """
    learner, subject, classes = described(item)
    place, sha256 = parameters_at(item, href)
    load = partial(_loaded, place, sha256, learner, subject, classes, by=addresses.guard())
    fitted = delayed(load, pure=True)()
    return MlModel(learner=learner, subject=subject, classes=classes, fitted=fitted)


def _item_among(results: Mapping[str, Any], href: str) -> tuple[str, Mapping[str, Any]]:
    """Address and Item of the one model among a job's results."""
    links = [link for link in results.get("links") or () if link.get("rel") == "item"]
    places = [urljoin(href, str(link.get("href"))) for link in links[:_MOST_ITEMS]]
    found = [(place, item) for place in places if is_learner(item := read_json(place))]
    if len(found) != 1:
        raise CardInvalidError(
            f"The results at {href[:200]} hold {len(found)} models; give the address of one's Item."
        )
    return found[0]


def _loaded(
    place: str, sha256: str, learner: Learner, subject: Subject, classes: tuple[Label, ...],
    *, by: Guard | None,
) -> Fitted:  # fmt: skip
    return restored(_bytes(place, by), sha256, learner, subject, classes)


def _bytes(place: str, by: Guard | None) -> bytes:
    try:
        if not place.startswith(("http://", "https://")):
            if by is not None:
                by.check(place)
            path = Path(place.removeprefix("file://"))
            if path.stat().st_size > MOST:
                raise WeightsInvalidError(f"{place} has more than {MOST} bytes.")
            return path.read_bytes()
        found = bytearray()
        with addresses.get(place, by, stream=True) as response:
            response.raise_for_status()
            for block in response.iter_content(_BLOCK):
                found += block
                if len(found) > MOST:
                    raise WeightsInvalidError(f"There are more than {MOST} bytes at {place}.")
        return bytes(found)
    except (requests.RequestException, OSError) as error:
        raise WeightsNotFoundError(
            f"The parameters at {place[:200]} cannot be read: {error}"
        ) from error
