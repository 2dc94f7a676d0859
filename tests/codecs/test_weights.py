"""Weights are found in order, and only those with the card's hash are read."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from toy_card import CARD

from openeo_nc.codecs import weights
from openeo_nc.codecs.registry import list_codecs, parse_card
from openeo_nc.errors import WeightsInvalidError, WeightsNotFoundError

ARRAYS = {"taps": np.arange(6, dtype=np.int8).reshape(2, 3), "offset": np.float64([0.5])}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two empty folders and no other; the environment variable is unset."""
    monkeypatch.setattr(weights, "packages", lambda group: {})
    monkeypatch.delenv(weights.FOLDERS_VARIABLE, raising=False)
    for name in "ab":
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


def card_of(digest):
    return parse_card(CARD | {"weights_sha256": digest})


def test_round_trip_and_hash(folders):
    path = folders[0] / "toy.safetensors"
    digest = weights.save(ARRAYS, path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.save(dict(reversed(ARRAYS.items())), path) == digest
    loaded = weights.load(card_of(digest), [folders[0]])
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_order_of_folders(folders, monkeypatch):
    a, b = folders
    for folder in folders:
        digest = weights.save(ARRAYS, folder / "toy.safetensors")
    card = card_of(digest)
    assert weights.resolve(card, [b, a]).parent == b
    with weights.also_in([a]):
        assert weights.resolve(card, [b]).parent == a
        monkeypatch.setenv(weights.FOLDERS_VARIABLE, f"/nowhere:{b}")
        assert weights.resolve(card).parent == b
    monkeypatch.delenv(weights.FOLDERS_VARIABLE)
    with pytest.raises(WeightsNotFoundError):
        weights.resolve(card)


def test_a_wrong_file_is_passed_over_or_told(folders):
    a, b = folders
    digest = weights.save(ARRAYS, a / "toy.safetensors")
    wrong = weights.save({}, b / "toy.safetensors")
    assert weights.resolve(card_of(digest), [b, a]).parent == a
    with pytest.raises(WeightsInvalidError, match=wrong):
        weights.load(card_of(digest), [b])


def test_a_changed_byte_is_told(folders):
    path = folders[0] / "toy.safetensors"
    digest = weights.save(ARRAYS, path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsInvalidError, match=digest):
        weights.load(card_of(digest), [folders[0]])


def test_missing_weights_name_file_and_folders(folders):
    with pytest.raises(WeightsNotFoundError, match=r"toy\.safetensors.*OPENEO_NC_WEIGHTS") as told:
        weights.load(card_of("1" * 64), folders)
    assert str(folders[1]) in str(told.value)


def test_a_codec_without_weights_has_none_to_find(folders):
    with pytest.raises(WeightsNotFoundError, match="no weights"):
        weights.resolve(parse_card(CARD | {"weights": None, "weights_sha256": None}))


def test_a_file_that_is_no_safetensors_is_told(folders):
    (folders[0] / "toy.safetensors").write_bytes(b"pickle")
    with pytest.raises(WeightsInvalidError, match="no safetensors"):
        weights.load(card_of(hashlib.sha256(b"pickle").hexdigest()), [folders[0]])


@pytest.mark.parametrize("card", [c for c in list_codecs() if c.weights], ids=lambda c: c.codec_id)
def test_shipped_weights_have_the_hash_of_their_card(card):
    path = weights.resolve(card)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card.weights_sha256
    assert path.stat().st_size <= 25_000_000
