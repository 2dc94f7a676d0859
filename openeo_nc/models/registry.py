"""Reads the cards of embedding models and opens the models that they describe.

A model package is a folder with `cards/<model_id>.json`, `weights/` and one module for each
architecture, as this one is; another distribution adds its own by an entry point of group
`openeo_nc.models`. Listing reads JSON only; an architecture's module is imported when its first
model is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from openeo_nc.codecs.packages import packages
from openeo_nc.errors import CardInvalidError, CodecNotFoundError
from openeo_nc.models.base import EmbeddingModel, ModelCard

ENTRY_POINTS = "openeo_nc.models"
"""Group of entry points, and import name of the package that is always there."""

_ADAPTER = TypeAdapter(with_config(ConfigDict(extra="forbid"))(ModelCard))
_opened: dict[tuple[str, str | None], EmbeddingModel] = {}
_opening = threading.RLock()


def list_models() -> list[ModelCard]:
    """Every card, this package's first, then by id."""
    return list(_cards().values())


def get_model_card(model_id: str) -> ModelCard:
    """The card of a model id; CodecNotFoundError names the known ones."""
    try:
        return _cards()[model_id]
    except KeyError:
        known = ", ".join(sorted(_cards())) or "none"
        raise CodecNotFoundError(f"unknown model '{model_id}'; known models: {known}") from None


def open_model(card: ModelCard, *, device: str | None = None) -> EmbeddingModel:
    """The model of a card, loaded once a process for each device.

    Raises
    ------
    CardInvalidError, WeightsNotFoundError, WeightsInvalidError
    """
    key = (json.dumps(card_document(card), sort_keys=True), device)
    with _opening:
        if key not in _opened:
            _opened[key] = _loader(card)(card, device=device)
        return _opened[key]


def parse_model_card(document: Mapping[str, Any], source: str = "card") -> ModelCard:
    """A card from its JSON object; CardInvalidError says which field is wrong in which source."""
    try:
        card = _ADAPTER.validate_python(dict(document))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise CardInvalidError(f"{source}: {faults}") from error
    for fault, found in _faults(card):
        if found:
            raise CardInvalidError(f"{source}: {fault}")
    return card


def card_document(card: ModelCard) -> dict[str, Any]:
    """The JSON object of a card; `parse_model_card` reads it back."""
    document = asdict(card)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in document.items()}


@cache
def _cards() -> Mapping[str, ModelCard]:
    cards: dict[str, ModelCard] = {}
    for folder in packages(ENTRY_POINTS).values():
        for path in sorted((folder / "cards").glob("*.json")):
            try:
                document = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CardInvalidError(f"{path}: not JSON: {error}") from error
            card = parse_model_card(document, str(path))
            if card.model_id != path.stem or card.model_id in cards:
                raise CardInvalidError(f"{path}: the card is of model '{card.model_id}'")
            cards[card.model_id] = card
    return cards


def _loader(card: ModelCard) -> Callable[..., EmbeddingModel]:
    for package in packages(ENTRY_POINTS):
        name = f"{package}.{card.architecture}"
        if importlib.util.find_spec(name) is not None:
            load = getattr(importlib.import_module(name), "load", None)
            if callable(load):
                found: Callable[..., EmbeddingModel] = load
                return found
    raise CardInvalidError(
        f"model '{card.model_id}' is of architecture '{card.architecture}', "
        f"which no model package has: {', '.join(packages(ENTRY_POINTS))}"
    )


def _faults(card: ModelCard) -> list[tuple[str, bool]]:
    bands = len(card.bands)
    return [
        (
            f"model_id '{card.model_id}' is not lower case letters, digits, . and -",
            re.fullmatch(r"[a-z0-9][a-z0-9.-]*", card.model_id) is None,
        ),
        (
            f"architecture '{card.architecture}' is no module name",
            re.fullmatch(r"[a-z][a-z0-9_]*", card.architecture) is None,
        ),
        (f"mean and std must have {bands} values", {len(card.mean), len(card.std)} != {bands}),
        ("std has values that are not positive", min(card.std, default=1.0) <= 0),
        (f"optional bands are not of {card.bands}", not set(card.optional) <= set(card.bands)),
        (f"dim {card.dim} or stride {card.stride} is not positive", min(card.dim, card.stride) < 1),
        (f"dates {card.dates} is not positive", card.dates < 1),
        (
            f"margin {card.margin} is no multiple of stride {card.stride}",
            card.margin < 0 or (card.pooling == "none" and bool(card.margin % max(card.stride, 1))),
        ),
        (
            f"chip {card.chip} of stride {card.stride} has no middle",
            card.pooling != "none" and card.chip is not None and (card.chip - card.stride) % 2 == 1,
        ),
        (
            f"chip {card.chip} is not larger than its margins and a multiple of the stride",
            card.chip is not None
            and (card.chip % max(card.stride, 1) != 0 or card.chip <= 2 * card.margin),
        ),
    ]
