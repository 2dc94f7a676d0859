"""The shipped split: only sets whose licence is stated, and their attributions in every card."""

from __future__ import annotations

import json

import pytest

from openeo_nc.codecs.registry import list_codecs
from openeo_nc.training.run import CONFIGS


@pytest.fixture(scope="module")
def split():
    return json.loads((CONFIGS.parent / "splits" / "s2l2a.json").read_text(encoding="utf-8"))


def files(split, *sides):
    return [f for side in sides for entry in split[side] for f in entry["files"]]


def test_every_set_has_its_licence_in_the_split(split):
    sets = {f.rsplit("/", 1)[0] for f in files(split, "train", "evaluation")}
    assert sets == set(split["licences"])
    assert all(split["licences"].values())


def test_cards_carry_the_attributions_of_what_they_were_trained_on(split):
    assert any("Copernicus Sentinel data" in text for text in split["attributions"])
    for card in [card for card in list_codecs() if card.weights]:
        assert set(split["attributions"]) <= set(card.attributions), card.codec_id


@pytest.mark.realdata
def test_the_manifest_states_the_licence_of_every_training_file(split, shared_data):
    manifest = json.loads((shared_data / "manifest.json").read_text(encoding="utf-8"))
    sets = {f["path"]: f["set"] for f in manifest["files"]}
    for file in files(split, "train"):
        licence = manifest["sets"][sets[file]]["licence"]
        assert licence, file
        assert "not stated" not in licence.lower(), file
