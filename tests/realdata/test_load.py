"""Cubes of the real catalogues, static and searched, against rasterio's reads of the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from realdata import catalogues as real

from openeo_nc.cubes import stac
from openeo_nc.cubes.catalogue import find_items
from openeo_nc.cubes.grid import TileGrid, pad_to_tiles
from openeo_nc.cubes.query import Query
from openeo_nc.errors import CollectionNotFoundError, GridMismatchError, NoDataAvailableError
from openeo_nc.processes.load_collection import load_collection
from openeo_nc.processes.load_stac import load_stac

pytestmark = pytest.mark.realdata
L2A = list(real.NATIVE)


@pytest.fixture(scope="module")
def root(shared_data, tmp_path_factory):
    return real.build(shared_data, tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def api(root):
    folders = ("boadella", "terramind", "bigearthnet")
    with real.served(*(root.parent / name / "collection.json" for name in folders)) as url:
        yield url


@pytest.fixture
def configured():
    yield stac.configure
    stac._catalogues = None


def url(root, name):
    return str(root.parent / name / "collection.json")


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_the_items_are_stac(root):
    for path in root.parent.glob("*/items/*.json"):
        assert pystac.Item.from_file(path).bbox


def test_boadella_in_degrees_with_oblong_pixels(root, shared_data):
    cube = load_stac(url(root, "boadella"), temporal_extent=["2020-01-01", "2020-02-01"])
    assert cube.shape == (4, 12, 377, 380)
    assert cube.bands.values.tolist() == L2A
    assert cube.rio.crs.to_epsg() == 4326
    res_x, res_y = cube.rio.resolution()
    assert abs(res_y) / res_x == pytest.approx(0.745, abs=0.001)
    files = sorted((shared_data / "s2/boadella_l2a").glob("Boadella_2020-01-*.tif"))
    for date, path in enumerate(files):
        expected = (read(path) * 0.0001).astype("float32")
        np.testing.assert_array_equal(cube.isel(t=date).values, expected)


def test_boadella_in_part_is_on_the_same_grid(root):
    extent = {"west": 2.80, "south": 42.34, "east": 2.82, "north": 42.36}
    dates = ["2020-06-01", "2020-07-01"]
    part = load_stac(url(root, "boadella"), extent, dates, ["B08", "B04"])
    whole = load_stac(url(root, "boadella"), None, dates, ["B08", "B04"])
    assert TileGrid.of(part, 384).id == TileGrid.of(whole, 384).id
    assert ((part.x > 2.80) & (part.x < 2.82)).all()
    inner = whole.sel(x=part.x, y=part.y, method="nearest")
    np.testing.assert_allclose(inner.x, part.x, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(part.values, inner.values)
    padded = pad_to_tiles(part, 64)
    assert TileGrid.of(padded, 64).window(padded).whole


@pytest.mark.parametrize("place", ["282D_485L_3_3", "433D_629L_3_1", "637U_59R_1_3"])
def test_terramind_places_keep_their_phase(root, shared_data, place):
    cube = load_stac(str(root.parent / "terramind/items" / f"{place}.json"), bands=L2A)
    stored = read(shared_data / "s2/majortom_l2a" / f"{place}.tif")
    offset = -0.1 if place == "433D_629L_3_1" else 0
    np.testing.assert_array_equal(cube.values[0], (stored * 0.0001 + offset).astype("float32"))
    grid = TileGrid.of(cube, 384)
    assert (grid.phase_x, grid.phase_y) != (0, 0)


def test_places_in_several_zones_are_refused_or_chosen(root):
    with pytest.raises(GridMismatchError, match="EPSG:32632"):
        load_stac(url(root, "terramind"), bands=["B04"])
    node = {"process_id": "eq", "arguments": {"x": {"from_parameter": "value"}, "y": 32632}}
    condition = {"proj:epsg": {"process_graph": {"zone": node | {"result": True}}}}
    chosen = load_stac(url(root, "terramind"), bands=["B04"], properties=condition)
    assert chosen.attrs["nc:items"] == ["637U_59R_1_3"]


def test_bigearthnet_at_native_resolutions(root, shared_data):
    name = "S2A_MSIL2A_20170613T101031_87_48"
    path = str(root.parent / "bigearthnet/items" / f"{name}.json")
    stored = read(shared_data / "s2/bigearthnet_l2a" / f"{name}.tif")
    cube = load_stac(path, bands=L2A, resampling="near")
    np.testing.assert_array_equal(cube.values[0], (stored * 0.0001).astype("float32"))
    smooth = load_stac(path, bands=L2A)
    assert "B01: bilinear" in smooth.attrs["nc:resampling"]
    assert "B04: none" in smooth.attrs["nc:resampling"]
    difference = np.abs(smooth.values - cube.values).max((0, 2, 3))
    native = np.array([real.NATIVE[band] for band in L2A])
    assert (difference[native == 10] == 0).all()
    assert (difference[native > 10] > 0).all()
    coarse = load_stac(path, bands=["B01", "B09"])
    assert coarse.rio.resolution() == (60, -60)
    expected = (stored[[0, 9], ::6, ::6] * 0.0001).astype("float32")
    np.testing.assert_array_equal(coarse.values[0], expected)


def test_a_scene_of_baseline_4_has_its_offset_and_no_data(root, shared_data):
    extent = {"west": 499_980, "south": 5_834_040, "east": 507_180, "north": 5_840_040}
    extent |= {"crs": 32629}
    cube = load_stac(url(root, "t29unu"), extent, bands=["B04", "SCL"])
    path = shared_data / "s2/t29unu_l2a_60m/T29UNU_20221005_north.tif"
    with rasterio.open(path) as file:
        window = file.window(*cube.rio.bounds())
        stored = file.read(file.descriptions.index("B04") + 1, window=window)
    expected = np.where(stored == 0, np.nan, stored * 0.0001 - 0.1).astype("float32")
    np.testing.assert_array_equal(cube.values[0, 0], expected)
    with rasterio.open(shared_data / "labels/t29unu_scl_60m/T29UNU_20221005_north_SCL.tif") as file:
        classes = file.read(1, window=window).astype("float32")
    np.testing.assert_array_equal(cube.values[0, 1], np.where(classes == 0, np.nan, classes))


def test_a_search_gives_what_the_static_catalogue_gives(root, api):
    extent = {"west": 2.80, "south": 42.34, "east": 2.81, "north": 42.35}
    dates = ["2020-01-13", "2020-01-23"]
    searched = load_stac(f"{api}/collections/boadella", extent, dates, ["B04"])
    static = load_stac(url(root, "boadella"), extent, dates, ["B04"])
    assert searched.attrs["nc:items"] == ["Boadella_2020-01-13", "Boadella_2020-01-18"]
    np.testing.assert_array_equal(searched.t, static.t)
    np.testing.assert_array_equal(searched.values, static.values)
    with pytest.raises(NoDataAvailableError):
        load_stac(f"{api}/collections/boadella", {"west": 10, "south": 42, "east": 11, "north": 43})


def test_the_search_is_asked_for_the_extents_only(api, monkeypatch):
    from pystac_client.item_search import ItemSearch

    asked = []
    found = ItemSearch.items_as_dicts

    def items_as_dicts(self):
        asked.append(self.get_parameters())
        return found(self)

    monkeypatch.setattr(ItemSearch, "items_as_dicts", items_as_dicts)
    extent = {"west": 2.80, "south": 42.34, "east": 2.81, "north": 42.35}
    query = Query.of(extent, ["2020-01-13", None])
    assert len(find_items(f"{api}/collections/boadella", query)) == 12
    assert list(asked[0]["collections"]) == ["boadella"]
    assert asked[0]["bbox"] == (2.80, 42.34, 2.81, 42.35)
    assert asked[0]["datetime"].startswith("2020-01-13T00:00:00Z/")


@pytest.mark.parametrize("kind", ["static", "api"])
def test_collections_of_configured_catalogues(root, api, configured, kind):
    configured([str(root) if kind == "static" else api])
    dates = ["2022-06-01", "2022-06-02"]
    cube = load_collection("boadella", None, dates, bands=["B04"])
    assert cube.shape == (1, 1, 377, 380)
    with pytest.raises(CollectionNotFoundError, match=r"'sentinel-9'.*boadella"):
        load_collection("sentinel-9", None, dates)


def test_catalogues_of_the_environment(root, monkeypatch):
    monkeypatch.setenv("OPENEO_NC_CATALOGUES", f"{root}, {url(root, 't29unu')}")
    assert stac.catalogues() == [str(root), url(root, "t29unu")]
    assert stac.collection_url("t29unu") == url(root, "t29unu")
    monkeypatch.delenv("OPENEO_NC_CATALOGUES")
    with pytest.raises(CollectionNotFoundError, match="OPENEO_NC_CATALOGUES"):
        stac.collection_url("t29unu")


def test_real_published_items_are_understood(shared_data):
    """Grids and scales of items as Earth Search, Planetary Computer and CDSE publish them."""
    from openeo_nc.cubes.assets import band_names, find_asset

    def first(name, index=0):
        return json.loads((Path(shared_data) / "stac" / f"{name}.json").read_text())["features"][
            index
        ]

    red = find_asset(first("sentinel-2-c1-l2a"), "B04")
    assert (red.key, red.resolution, red.scale, red.offset, red.nodata) == (
        "red",
        10,
        1e-4,
        -0.1,
        0,
    )
    applied = find_asset(first("sentinel-2-l2a"), "red")
    assert (applied.key, applied.offset) == ("red", 0)
    assert find_asset(first("sentinel-2-l2a"), "scl").classes
    mosaic = find_asset(first("sentinel-2-global-mosaics"), "blue")
    assert (mosaic.key, mosaic.crs, mosaic.nodata) == ("B02", "EPSG:32631", -32768)
    thermal = find_asset(first("aster-l1t"), "TIR_Band12")
    assert (thermal.key, thermal.band) == ("TIR", 3)
    swapped = find_asset(first("landsat-8-l1", 1), "B4")
    assert swapped.transform is None or swapped.transform[1] == 30
    assert "visual" not in band_names(first("sentinel-2-c1-l2a"))
