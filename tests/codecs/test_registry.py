"""Cards, packages that entry points bring, and the choice and cache of codecs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from toy_card import CARD

from openeo_nc.codecs import packages, registry, weights
from openeo_nc.codecs.base import CodecCard
from openeo_nc.codecs.registry import (
    card_document,
    choose,
    get_card,
    list_codecs,
    open_card,
    open_codec,
    parse_card,
)
from openeo_nc.errors import CardInvalidError, CodecNotFoundError, WeightsNotFoundError

ARCHITECTURE = """
from openeo_nc.codecs import weights
loads = []
class Toy:
    def __init__(self, card, device):
        self.card, self.device, self.arrays = card, device, weights.load(card)
def load(card, *, device=None):
    loads.append(card.codec_id)
    return Toy(card, device)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A distribution with a codec package `toy_codecs`, installed for the test."""
    folder = tmp_path / "toy_codecs"
    (folder / "cards").mkdir(parents=True)
    (folder / "weights").mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('listing must not import this')")
    (folder / "toy.py").write_text(ARCHITECTURE)
    digest = weights.save({"a": np.arange(3)}, folder / "weights" / "toy.safetensors")
    document = CARD | {"weights_sha256": digest}
    (folder / "cards" / "toy-codec.json").write_text(json.dumps(document))
    point = EntryPoint("toy", "toy_codecs", packages.ENTRY_POINTS)
    monkeypatch.setattr(packages, "entry_points", lambda group: [point])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_opened", {})
    packages.packages.cache_clear()
    registry._cards.cache_clear()
    yield folder
    packages.packages.cache_clear()
    registry._cards.cache_clear()
    for name in [name for name in sys.modules if name.startswith("toy_codecs")]:
        del sys.modules[name]


def importable(toy) -> None:
    (toy / "__init__.py").write_text("")


def test_shipped_cards_are_listed_and_read_back():
    cards = list_codecs()
    assert len({card.codec_id for card in cards}) == len(cards)
    for card in cards:
        assert get_card(card.codec_id) is card
        assert parse_card(json.loads(json.dumps(card_document(card)))) == card


def test_an_entry_point_brings_cards_without_being_imported(toy):
    card = get_card("toy-codec")
    assert card.bands == ("B02", "B08")
    assert list_codecs()[-1] == card
    assert "toy_codecs" not in sys.modules


def test_opening_loads_once_for_each_device(toy):
    importable(toy)
    codec = open_codec("toy-codec")
    np.testing.assert_array_equal(codec.arrays["a"], np.arange(3))
    assert open_codec("toy-codec") is codec
    assert open_codec(bands=["B02", "B08"]) is codec
    assert open_codec("toy-codec", device="cuda:7").device == "cuda:7"
    assert sys.modules["toy_codecs.toy"].loads == ["toy-codec"] * 2


def test_threads_share_one_codec(toy):
    importable(toy)
    codecs, start = [], threading.Barrier(8)

    def work():
        start.wait()
        codecs.append(open_codec("toy-codec"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, codecs))) == 1
    assert len(sys.modules["toy_codecs.toy"].loads) == 1


@pytest.mark.parametrize("bands", [None, ["B08", "B02"], ["B02"], ["B02", "B08", "B11"]])
def test_auto_falls_back_to_the_universal_codec(toy, monkeypatch, bands):
    monkeypatch.setattr(registry, "UNIVERSAL", "universal")
    document = CARD | {"codec_id": "universal", "bands": None}
    (toy / "cards" / "universal.json").write_text(json.dumps(document))
    assert choose("auto", bands).codec_id == "universal"
    assert choose("auto", ("B02", "B08")).codec_id == "toy-codec"
    assert choose("toy-codec", bands).codec_id == "toy-codec"


def test_unknown_codecs_are_told_with_the_known_ones(toy):
    with pytest.raises(CodecNotFoundError, match=r"'nope'.*toy-codec"):
        open_codec("nope")


def test_a_card_from_a_store_brings_its_weights(toy, tmp_path):
    importable(toy)
    own = tmp_path / "store"
    own.mkdir()
    digest = weights.save({"a": np.arange(9)}, own / "other.safetensors")
    card = parse_card(CARD | {"weights": "other.safetensors", "weights_sha256": digest})
    with pytest.raises(WeightsNotFoundError, match=r"other\.safetensors"):
        open_card(card)
    assert open_card(card, weights_dirs=[own]).arrays["a"].size == 9
    assert open_card(card).arrays["a"].size == 9


@pytest.mark.parametrize("architecture", ["base", "nothing_here"])
def test_an_architecture_must_be_one_of_a_codec_package(toy, architecture):
    importable(toy)
    with pytest.raises(CardInvalidError, match=architecture):
        open_card(parse_card(CARD | {"architecture": architecture}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"codec_id": "Toy Codec"}, "codec_id"),
        ({"codec_id": 5}, "codec_id"),
        ({"architecture": "os.path"}, "architecture"),
        ({"architecture": "../toy"}, "architecture"),
        ({"weights": "../toy.safetensors"}, "weights"),
        ({"weights": "/etc/toy.safetensors"}, "weights"),
        ({"weights": "toy.pt"}, "weights"),
        ({"weights": None}, "weights_sha256"),
        ({"weights_sha256": None}, "weights_sha256"),
        ({"weights_sha256": "0" * 63}, "weights_sha256"),
        ({"bands": "B02"}, "bands"),
        ({"bands": [2]}, "bands"),
        ({"dtypes": ["int15"]}, "dtypes"),
        ({"dtypes": ["i2"]}, "dtypes"),
        ({"dtypes": []}, "dtypes"),
        ({"tile": 60}, "tile"),
        ({"stride": 0}, "stride"),
        ({"tile": True}, "tile"),
        ({"quality": [1, 8]}, "quality"),
        ({"quality": [8, 1, 5]}, "quality"),
        ({"quality": [1, 300, 5]}, "quality"),
        ({"peak": "1"}, "peak"),
        ({"evaluation": []}, "evaluation"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_wrong_cards_say_what_is_wrong(changes, told):
    with pytest.raises(CardInvalidError, match=told):
        parse_card(CARD | changes)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(CodecCard)][:20])
def test_missing_fields_are_named(name):
    with pytest.raises(CardInvalidError, match=name):
        parse_card({key: value for key, value in CARD.items() if key != name})


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "not JSON"), ("[]", "JSON object"), (json.dumps(CARD), "card is of codec 'toy-codec'")],
)
def test_a_wrong_card_file_is_named(toy, content, told):
    (toy / "cards" / "zz.json").write_text(content)
    with pytest.raises(CardInvalidError, match=rf"zz\.json.*{told}"):
        list_codecs()


def test_two_cards_of_one_codec_are_an_error(toy, monkeypatch):
    monkeypatch.setattr(registry, "packages", lambda: {"a": toy, "b": toy})
    with pytest.raises(CardInvalidError, match="another card"):
        list_codecs()


@pytest.mark.parametrize("value", ["json.decoder", "no_such_package_at_all", "not a name"])
def test_entry_points_must_name_packages(toy, monkeypatch, value):
    point = EntryPoint("bad", value, packages.ENTRY_POINTS)
    monkeypatch.setattr(packages, "entry_points", lambda group: [point])
    packages.packages.cache_clear()
    with pytest.raises(CardInvalidError, match="bad"):
        list_codecs()


def test_listing_imports_neither_torch_nor_xarray():
    code = (
        "import sys; from openeo_nc.codecs.registry import list_codecs; list_codecs();"
        "print(sorted({'torch', 'xarray', 'dask', 'openeo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
