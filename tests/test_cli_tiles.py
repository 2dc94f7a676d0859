"""`openeo-nc tiles`: what operators see of a tile store; and what `precompute` refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import dask
import fake_models
import pytest
import stac_scenes as scenes
from click.testing import CliRunner
from granules import load, scene

from openeo_nc.cli import main
from openeo_nc.cubes import tile_store
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.cubes.tile_store import Key, Spec, TileStore
from openeo_nc.cubes.tile_store_entry import Entry
from openeo_nc.models.registry import get_model_card

WHEN = "2022-06-01T10:50:31Z"


def invoke(*arguments, **environment):
    return CliRunner().invoke(main, list(map(str, arguments)), env=environment)


@pytest.fixture
def place(tmp_path):
    """A store with six entries, one of them read twice."""
    store = TileStore(Spec(url=str(tmp_path / "tiles")))
    for number in range(6):
        of = {"codec": ["klt-dct", "1", None], "rate": {"quality": 5.0}, "kind": "pixels"}
        key = Key.of({"of": of, "tile": [number, 0], "items": [["x"]]}, "abc/0.0/2022-06")
        store.put(key, Entry(key=key.document, payloads=(bytes(1000),), notes=({},)))
    store.get(key)
    store.get(key)
    store.flush()
    return tmp_path / "tiles"


def test_list_tells_entries_bytes_and_hits(place):
    shown, listed = (
        invoke("tiles", "list", "--tiles", place),
        invoke("tiles", "list", "--json", OPENEO_NC_TILES=str(place)),
    )
    assert shown.exit_code == listed.exit_code == 0, shown.output
    report = json.loads(listed.output)
    assert (report["entries"], report["hits"]) == (6, 2)
    assert 6_000 < report["bytes"] < 9_000
    (coding,) = report["codings"]
    assert (coding["codec"], coding["rate"], coding["hits"]) == ("klt-dct", "quality 5.0", 2)
    assert "6 entries" in shown.output
    assert "klt-dct" in shown.output


@pytest.mark.parametrize(
    ("model", "quantization", "listed", "quantiser"),
    [
        ("fake-patches", "int8", "fake-patches, vectors", "int8"),
        ("fake-chips", "int8", "fake-chips, chips", ""),  # before any quantiser
    ],
)
def test_list_tells_of_models_beside_codecs(
    place, tmp_path, model, quantization, listed, quantiser
):
    url = str(scenes.write_items(tmp_path / "items.json", [scene(tmp_path, "one", WHEN)]))
    synchronous = dask.config.set(scheduler="synchronous")
    with fake_models.models_installed(), tile_store.used(place), synchronous:
        card = replace(get_model_card(model), source={"revision": "0" * 40})
        embed_cube(load(url), card, quantization=quantization).compute()
    shown = invoke("tiles", "list", "--tiles", place)
    assert shown.exit_code == 0, shown.output
    report = json.loads(invoke("tiles", "list", "--tiles", place, "--json").output)
    assert len(report["codings"]) == 2
    found = {coding["codec"]: coding["rate"] for coding in report["codings"]}
    assert found == {"klt-dct": "quality 5.0", listed: quantiser}
    assert listed in shown.output


def test_evict_leaves_what_was_read_last(place):
    ended = invoke("tiles", "evict", "--tiles", place, "--bytes", 2_000, "--json")
    assert ended.exit_code == 0
    assert json.loads(ended.output)["entries"] == 5
    assert json.loads(invoke("tiles", "list", "--tiles", place, "--json").output)["hits"] == 2
    invoke("tiles", "evict", "--tiles", place, "--bytes", 0)
    empty = invoke("tiles", "list", "--tiles", place)
    assert empty.output.startswith("0 entries")


def test_verify_finds_and_removes_what_is_damaged(place):
    assert invoke("tiles", "verify", "--tiles", place).exit_code == 0
    path = next(place.glob("entries/*/*/*/*"))
    path.write_bytes(path.read_bytes()[:-1])
    found = invoke("tiles", "verify", "--tiles", place)
    assert found.exit_code == 3
    assert path.name in found.output
    assert invoke("tiles", "verify", "--tiles", place, "--remove").exit_code == 0
    assert not path.exists()
    assert invoke("tiles", "verify", "--tiles", place).exit_code == 0


PRECOMPUTE = ("precompute", "--stac", "x.json", "--collection", "c")


def test_precompute_says_what_is_wrong_with_its_options(tmp_path):
    missing = invoke(*PRECOMPUTE, "--bbox", "1,2,3,4", "--datetime", "2022-01-01/2022-02-01",
                     OPENEO_NC_TILES="")  # fmt: skip
    assert missing.exit_code == 2
    assert "--tiles" in missing.output
    given = ("--tiles", tmp_path / "tiles", "--datetime", "2022-01-01/2022-02-01")
    wrong = invoke(*PRECOMPUTE, *given, "--bbox", "1,2,3")
    assert wrong.exit_code == 1
    assert "W,S,E,N" in wrong.output
