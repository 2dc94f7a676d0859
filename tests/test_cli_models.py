"""`openeo-nc models`: a table, a card, JSON, an Item; unknown ids are typed errors."""

from __future__ import annotations

import json

import encoders
import pytest
from click.testing import CliRunner

from openeo_nc.cli import main
from openeo_nc.models.registry import card_document, get_model_card, list_models


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(main, ["models", *arguments])


def test_models_are_listed(run):
    listed = run().output
    for card in list_models():
        assert card.model_id in listed
    documents = json.loads(run("--json").output)
    assert [d["model_id"] for d in documents] == [card.model_id for card in list_models()]


def test_a_card_is_shown(run):
    shown = run("s2-embed-small").output
    assert "8 x 8 pixels" in shown
    assert "B8A" in shown
    document = json.loads(run("s2-embed-small", "--json").output)
    assert document == json.loads(json.dumps(card_document(get_model_card("s2-embed-small"))))


def test_the_card_of_an_item_is_shown(run, tmp_path):
    file = tmp_path / "encoder.onnx"
    encoders.write_onnx(file)
    path = tmp_path / "item.json"
    path.write_text(json.dumps(encoders.mlm_item(file)))
    assert "onnx_model" in run(str(path)).output


def test_unknown_models_are_told(run):
    result = run("s3-embed")
    assert result.exit_code == 1
    assert "s2-embed-small" in result.output
