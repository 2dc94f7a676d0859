"""The synthetic scene reads back as Sentinel-2 L2A of baseline 04.00 would."""

from __future__ import annotations

import json

import numpy as np
import pystac
import pytest
import rasterio

from openeo_nc.demo.landscape import landscape, surface
from openeo_nc.demo.scene import ACQUISITIONS, COLLECTION, bbox, write_scene
from openeo_nc.sentinel2 import BANDS, RESOLUTION


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return pystac.Collection.from_file(write_scene(tmp_path_factory.mktemp("scene")))


@pytest.fixture(scope="module")
def items(collection):
    return sorted(collection.get_items(), key=lambda item: item.datetime)


def test_catalogue_lists_every_date_once(items):
    assert [item.datetime for item in items] == [a.when for a in ACQUISITIONS]


def test_it_says_everywhere_that_it_is_synthetic(collection, items):
    assert "synthetic" in collection.id
    assert collection.id == COLLECTION
    for item in items:
        assert "ynthetic" in item.properties["description"]
        with rasterio.open(item.assets["B02"].get_absolute_href()) as file:
            assert "ynthetic" in file.tags()["NOTICE"]


@pytest.mark.parametrize("band", BANDS)
def test_files_match_their_metadata(items, band):
    for item in items:
        asset = item.assets[band]
        with rasterio.open(asset.get_absolute_href()) as file:
            assert file.res == (RESOLUTION[band], RESOLUTION[band])
            assert list(file.shape) == asset.extra_fields["proj:shape"]
            assert list(file.transform) == asset.extra_fields["proj:transform"]
            assert file.crs.to_string() == item.properties["proj:code"]
            assert file.dtypes == ("uint16",)
            assert file.nodata == 0
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        (numbers,) = asset.extra_fields["raster:bands"]
        assert (numbers["scale"], numbers["offset"]) == (0.0001, -0.1)


def test_bounding_box_is_that_of_the_files(items):
    with rasterio.open(items[0].assets["B02"].get_absolute_href()) as file:
        found = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    np.testing.assert_allclose(bbox(), found)
    np.testing.assert_allclose(items[0].bbox, found)


def test_only_the_last_date_has_an_edge_and_all_bands_share_it(items):
    def share(item, band):
        with rasterio.open(item.assets[band].get_absolute_href()) as file:
            return float((file.read(1) == 0).mean())

    assert [share(item, "B04") for item in items[:2]] == [0, 0]
    shares = [share(items[2], band) for band in BANDS]
    assert min(shares) > 0.01
    assert max(shares) - min(shares) < 0.01


def test_cover_is_spectrally_plausible(items):
    """Vegetation has a red edge, water absorbs infrared, clouds are white; read from the files."""

    def reflectance(item, band):
        with rasterio.open(item.assets[band].get_absolute_href()) as file:
            values = file.read(1, out_shape=(330, 360)).astype(float)
        return np.where(values == 0, np.nan, values * 0.0001 - 0.1)

    def classes(item):
        with rasterio.open(item.assets["SCL"].get_absolute_href()) as file:
            return file.read(1)

    clear, cloudy = items[0], items[1]
    red, infrared, blue = (reflectance(clear, band) for band in ("B04", "B08", "B02"))
    water = classes(clear) == 6
    assert water.mean() > 0.01
    assert np.median(infrared[water]) < 0.05 < np.median(infrared[~water])
    assert np.nanmax((infrared - red) / (infrared + red)) > 0.7
    cloud = classes(cloudy) == 9
    assert 0.05 < cloud.mean() < 0.4
    white = [np.median(reflectance(cloudy, band)[cloud]) for band in ("B02", "B03", "B04")]
    assert min(white) > 0.3
    assert max(white) - min(white) < 0.1
    assert np.nanmin(blue) > -0.05


def test_same_seed_same_scene():
    first, second = (surface(landscape(3, (60, 72)), 1, 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_scene_is_small(collection):
    from pathlib import Path

    files = Path(collection.get_self_href()).parent.rglob("*.*")
    assert sum(f.stat().st_size for f in files) < 25e6


def test_asset_addresses_are_relative_so_that_the_folder_can_move(collection):
    from pathlib import Path

    item = next(Path(collection.get_self_href()).parent.rglob("SYNTHETIC*.json"))
    assets = json.loads(item.read_text())["assets"]
    assert all(asset["href"].startswith("./") for asset in assets.values())
