"""Cards of embedding models: read back as written, refused with the field's name."""

from __future__ import annotations

import dataclasses
import re

import pytest

from openeo_nc.errors import CardInvalidError, CodecNotFoundError
from openeo_nc.models.registry import (
    card_document,
    get_model_card,
    list_models,
    open_model,
    parse_model_card,
)


@pytest.fixture
def document():
    return card_document(get_model_card("s2-embed-small"))


def test_cards_are_listed():
    assert "s2-embed-small" in {card.model_id for card in list_models()}
    with pytest.raises(CodecNotFoundError, match="s2-embed-small"):
        get_model_card("s3-embed")


def test_documents_are_read_back(document):
    assert parse_model_card(document) == get_model_card("s2-embed-small")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dim": "many"}, "dim"),
        ({"colour": "red"}, "colour"),
        ({"mean": [1.0]}, "mean and std"),
        ({"std": [0.0] * 12}, "not positive"),
        ({"optional": ["B99"]}, "optional"),
        ({"margin": 3}, "margin 3"),
        ({"chip": 64}, "chip 64"),
        ({"model_id": "../x"}, "model_id"),
        ({"architecture": "os.path"}, "architecture"),
        ({"dates": 0}, "dates"),
    ],
)
def test_faults_are_named(document, changes, told):
    with pytest.raises(CardInvalidError, match=told):
        parse_model_card(document | changes, "here")


def test_architectures_are_of_model_packages(document):
    card = parse_model_card(document | {"architecture": "pathlib", "model_id": "elsewhere"})
    with pytest.raises(CardInvalidError, match="no model package"):
        open_model(dataclasses.replace(card))


def test_weights_that_are_fetched_are_pinned_by_commit_and_hash_or_by_neither():
    cards = [card for card in list_models() if card.architecture == "terratorch"]
    pinned = [card for card in cards if card.source["revision"] != "main"]
    assert len(pinned) == 6
    for card in pinned:
        assert re.fullmatch("[0-9a-f]{40}", card.source["revision"])
        assert re.fullmatch("[0-9a-f]{64}", card.weights_sha256)
    assert all(card.weights_sha256 is None for card in cards if card not in pinned)
    assert len({card.weights_sha256 for card in pinned}) == 6
