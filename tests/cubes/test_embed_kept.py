"""Embeddings of models through the tile store: each tile's vectors are computed once, for anybody."""

from __future__ import annotations

from dataclasses import replace

import dask
import fake_models
import numpy as np
import pytest
from granules import LEFT, SIDE, TOP, load

from openeo_nc import metrics
from openeo_nc.cubes import on_error, tile_store
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.cubes.plan import plan_cube
from openeo_nc.models.registry import get_model_card

MODELS = ["fake-patches", "fake-chips", "fake-pooled", "fake-unit"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def models():
    with fake_models.models_installed() as module, dask.config.set(scheduler="synchronous"):
        yield module


@pytest.fixture
def kept(tmp_path, models):
    with tile_store.used(tmp_path / "tiles") as spec:
        yield spec


def embedded(cube, model="fake-patches", quantization="float32", **changes):
    card = replace(get_model_card(model), **{"source": {"revision": COMMIT}, **changes})
    return embed_cube(cube, card, quantization=quantization)


def entries(spec):
    return [one.path for one in tile_store.opened(spec).shelf.list("entries")]


@pytest.mark.parametrize("model", [*MODELS, "fake-dates"])
@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_what_is_there_is_neither_read_nor_computed(kept, models, url, unread, model, quantization):
    cube = load(url)
    first = embedded(cube, model, quantization).compute()
    assert np.isfinite(first.values).any()
    calls, hits = models.calls["embed"], metrics.CACHE_HITS.value()
    assert calls
    unread()
    again = embedded(cube, model, quantization).compute()
    np.testing.assert_array_equal(again.values, first.values)
    assert models.calls["embed"] == calls
    assert metrics.CACHE_HITS.value() == hits + len(entries(kept))


@pytest.mark.parametrize("model", MODELS)
def test_vectors_are_those_of_the_plain_path_where_it_sees_the_margin(kept, models, url, model):
    """Margins of pixels that were asked for; the plain path has none of the ground beyond."""
    cube = load(url, east=2 * SIDE)
    found = embedded(cube, model, "int8").compute()
    with tile_store.used(None):
        plain = embedded(cube, model, "int8").compute()
    assert found.sizes == plain.sizes
    inner = {"x": slice(LEFT + 250, LEFT + 950), "y": slice(TOP - 250, TOP - 350)}
    a, b = found.sel(inner), plain.sel(inner)
    assert a.size
    assert np.isfinite(b.values).any()
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("model", ["fake-patches", "fake-pooled"])
def test_vectors_do_not_depend_on_the_request(kept, models, url, unread, model):
    """Not at its edges either: margins are read from the items, whatever was asked for."""
    whole = embedded(load(url, east=2 * SIDE), model).compute()
    calls = models.calls["embed"]
    unread()
    part = embedded(load(url, west=17, south=40, east=70, north=9), model).compute()
    same = whole.sel(x=part.x, y=part.y, t=part.t)
    rows, columns = (part.notnull().any(("t", "embedding", name)).sum() for name in "xy")
    assert rows >= 31 // 16  # of the pixels that were asked for
    assert columns >= 53 // 16
    np.testing.assert_array_equal(part.values, same.where(part.notnull()).values)
    assert models.calls["embed"] == calls


def test_blended_chips_serve_every_quantiser_and_vectors_only_theirs(kept, models, url):
    for model, more in (("fake-chips", False), ("fake-patches", True)):
        embedded(load(url), model, "float32").compute()
        calls = models.calls["embed"]
        found = embedded(load(url), model, "int8").compute()
        assert (models.calls["embed"] > calls) == more
        with tile_store.used(None):
            assert found.shape == embedded(load(url), model, "int8").shape


@pytest.mark.parametrize(
    "changes",
    [{"mean": (1.0, 0.0, 0.0)}, {"version": "2"}, {"source": {"revision": COMMIT[::-1]}}],
)
def test_other_cards_have_entries_of_their_own(kept, models, url, changes):
    embedded(load(url)).compute()
    before = len(entries(kept))
    embedded(load(url), **changes).compute()
    assert len(entries(kept)) == 2 * before
    embedded(load(url), title="Another title").compute()
    assert len(entries(kept)) == 2 * before


def test_weights_that_nobody_can_name_are_not_kept(kept, models, url):
    for source in ({}, {"revision": "main"}):
        embedded(load(url), source=source).compute()
    assert not entries(kept)


def test_bands_that_lack_are_part_of_the_key(kept, models, url):
    embedded(load(url)).compute()
    before = len(entries(kept))
    found = embedded(load(url, bands=("B02", "B03"))).compute()
    assert len(entries(kept)) == 2 * before
    assert found.sizes["embedding"] == 4


def test_changed_pixels_are_nobodys(kept, models, url):
    cube = load(url)
    embedded(cube.copy(data=cube.data * 1).assign_attrs(cube.attrs)).compute()
    assert not entries(kept)


def test_a_plan_counts_what_is_there_and_what_is_not(kept, models, url):
    for tiles, there in ((4, 0), (0, 4)):
        plan = plan_cube(embedded(load(url)))
        assert (plan.tiles, plan.kept_tiles) == (tiles, there)
        assert bool(plan.source_bytes) == bool(tiles)
        embedded(load(url)).compute()


def test_building_computes_nothing(kept, models, url, unread):
    unread()
    embedded(load(url))
    assert not models.calls["embed"]


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_entries_that_left_or_were_damaged_are_made_again(kept, models, url, tmp_path, harm):
    first = embedded(load(url)).compute()
    calls, again = models.calls["embed"], embedded(load(url))
    for path in entries(kept):
        file = tmp_path / "tiles" / path
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1])
    np.testing.assert_array_equal(again.compute().values, first.values)
    assert models.calls["embed"] == 2 * calls
    calls = models.calls["embed"]
    np.testing.assert_array_equal(embedded(load(url)).compute().values, first.values)
    assert models.calls["embed"] == calls


def test_what_may_become_no_data_is_not_kept(kept, models, url):
    with on_error.nodata_on_error("job"):
        embedded(load(url)).compute()
    assert not entries(kept)
