"""`openeo-nc models`: which embedding models there are, and what one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from openeo_nc.cli.options import json_option, show
from openeo_nc.tables import table

if TYPE_CHECKING:
    from openeo_nc.models.base import ModelCard


@click.command()
@click.argument("model", required=False)
@json_option
def models(model: str | None, as_json: bool) -> None:
    """List the embedding models that are known, or show the card of MODEL: an id, or an MLM Item."""
    from openeo_nc.cubes.encoders import known_model
    from openeo_nc.models.registry import card_document, get_model_card, list_models

    if model is not None:
        card = known_model(model) or get_model_card(model)
        show(card_document(card), as_json=as_json, human=lambda: _card(card))
        return
    cards = list_models()
    show([card_document(card) for card in cards], as_json=as_json, human=lambda: _listing(cards))


def _listing(cards: list[ModelCard]) -> str:
    rows = [
        (
            card.model_id,
            card.version,
            len(card.bands),
            card.dates,
            card.dim,
            card.stride,
            _weights(card),
            card.title,
        )
        for card in cards
    ]
    head = ("model", "version", "bands", "dates", "dim", "stride", "weights", "title")
    return table(head, rows)


def _weights(card: ModelCard) -> str:
    if card.weights is not None:
        return (card.weights_sha256 or "")[:12]
    return str(card.source.get("repo") or card.source.get("href") or "none")


def _card(card: ModelCard) -> str:
    resolution = "any" if card.resolution is None else f"{card.resolution:g} m"
    chip = "any" if card.chip is None else f"{card.chip} pixels"
    facts = {
        "model": card.model_id,
        "title": card.title,
        "description": card.description,
        "architecture": card.architecture,
        "version": card.version,
        "bands": " ".join(card.bands),
        "bands that may lack": " ".join(card.optional) or "none",
        "units": card.units,
        "resolution": resolution,
        "dates": card.dates,
        "vector": f"{card.dim} values{', length 1' if card.unit_norm else ''}",
        "patch": f"{card.stride} x {card.stride} pixels, pooling {card.pooling}",
        "chip": f"{chip}, margin {card.margin}",
        "weights": _weights(card),
        "licence": card.licence,
        "citation": card.citation or None,
        "trained by": card.evaluation.get("command"),
    }
    known = [(name, value) for name, value in facts.items() if value is not None]
    return table(("what", "value"), known)
