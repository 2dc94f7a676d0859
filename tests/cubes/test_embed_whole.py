"""Vectors of loaded cubes are of the ground alone: at the edge of a request too, without a tile store."""

from __future__ import annotations

import dask
import fake_models
import numpy as np
import pytest
from granules import BANDS, LEFT, SIDE, TOP, load

from openeo_nc.cubes import addresses, stac, surroundings
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.cubes.query import Query
from openeo_nc.models.registry import get_model_card
from openeo_nc.processes.standard.dimensions import filter_bands
from openeo_nc.processes.standard.filters import filter_bbox, filter_temporal

MODELS = ["fake-patches", "fake-chips", "fake-pooled", "fake-unit"]
BOX = {"west": LEFT + 170, "south": TOP - 400, "east": LEFT + 700, "north": TOP - 90, "crs": 32631}


@pytest.fixture(autouse=True)
def models():
    with fake_models.models_installed() as module, dask.config.set(scheduler="synchronous"):
        yield module


@pytest.fixture
def asked(monkeypatch):
    """Extents that the catalogue is asked for by the search around a cube."""
    extents = []
    find = surroundings.find_items

    def counting(url, query):
        extents.append(query.spatial)
        return find(url, query)

    monkeypatch.setattr(surroundings, "find_items", counting)
    return extents


def embedded(cube, model="fake-patches"):
    return embed_cube(cube, get_model_card(model), quantization="float32")


def same(part, whole, box=None):
    """Patches that were asked for, all there are in a box, have the vectors they have in the whole."""
    if box is not None:
        part = filter_bbox(part, box)
    there = whole.sel(x=part.x, y=part.y, t=part.t)
    assert np.isfinite(part.values).any()
    if box is None:
        there = there.where(part.notnull())
    np.testing.assert_array_equal(part.values, there.values)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_patch_has_the_same_vector_whatever_the_request(url, model):
    whole = embedded(load(url, east=2 * SIDE), model).compute()
    for west, south, east, north in ((17, 40, 70, 9), (50, 12, 61, 3)):
        part = embedded(load(url, west, south, east, north), model).compute()
        asked = {
            "west": LEFT + 10 * west, "east": LEFT + 10 * east, "crs": 32631,
            "south": TOP - 10 * south, "north": TOP - 10 * north,
        }  # fmt: skip
        same(part, whole, asked)
        if model != "fake-chips" and model != "fake-unit":  # whose chips overlap: others' tiles too
            same(part, whole)


def test_what_is_filtered_behind_loading_is_a_request_too(url):
    cube = load(url, east=2 * SIDE)
    whole = embedded(cube).compute()
    part = filter_bands(filter_bbox(cube, BOX), list(BANDS))
    part = filter_temporal(part, [None, "2030-01-01"])
    assert part.sizes["x"] < cube.sizes["x"]
    same(embedded(part).compute(), whole)


def test_the_catalogue_is_asked_when_vectors_are_wanted_and_once(url, asked):
    cube = filter_bbox(load(url, east=2 * SIDE), BOX)
    assert asked == []
    embedded(cube)
    embedded(cube, "fake-pooled")
    assert len(asked) == 1


def test_the_catalogue_is_asked_as_it_was_when_the_cube_was_loaded(url, monkeypatch):
    """What a server lets its users fetch holds for what they look up later."""
    seen = []
    find = surroundings.find_items

    def noting(*arguments):
        seen.append(addresses.guard())
        return find(*arguments)

    monkeypatch.setattr(surroundings, "find_items", noting)
    with addresses.public_only(frozenset({"somewhere"})):
        monkeypatch.setattr(addresses.Guard, "check", lambda *a, **k: None)
        cube = load(url)
    assert addresses.guard() is None
    embedded(cube)
    assert [by.hosts for by in seen] == [frozenset({"somewhere"})]


def test_numbers_that_were_changed_are_taken_as_they_are(url, asked):
    """Nobody has the ground around a cube that is no longer what was loaded."""
    cube = load(url, west=17, south=40, east=50, north=9)
    doubled = (cube * 2).assign_attrs(cube.attrs)
    found = embedded(doubled).compute()
    assert asked == []
    plain = embedded(cube.compute()).compute()
    np.testing.assert_allclose(found.values, 2 * plain.values, rtol=1e-6)
    assert np.nanmax(np.abs(found.values / 2 - embedded(cube).values)) > 1e-3  # at the edges


def test_what_lies_outside_of_polygons_is_no_data(url, asked):
    shape = {
        "type": "Polygon",
        "coordinates": [[
            [LEFT, TOP], [LEFT + 300, TOP], [LEFT, TOP - 300], [LEFT, TOP],
        ]],
        "crs": {"type": "name", "properties": {"name": "EPSG:32631"}},
    }  # fmt: skip
    cube = stac.load(url, Query.of(shape, None, None), BANDS)
    found = embedded(cube).compute()
    assert asked == []
    inside = found.sel(x=slice(LEFT, LEFT + 80), y=slice(TOP, TOP - 80))
    assert np.isfinite(inside.values).all()
    assert np.isnan(found.sel(x=slice(LEFT + 320, None)).values).all()
