"""Cubes that STAC Items keep in Zarr stores: what was saved comes back, in whole or in part."""

from __future__ import annotations

import json

import numpy as np
import pytest
import stac_scenes as scenes
import xarray as xr

from openeo_nc.cubes import stac
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.query import Query
from openeo_nc.cubes.store import write_store
from openeo_nc.errors import AssetMissingError, GridMismatchError, NoDataAvailableError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    items = [
        scenes.granule(folder, "early", "2022-06-01T10:50:31Z", edge=6),
        scenes.granule(folder, "late", "2022-06-06T10:50:31Z"),
    ]
    return str(scenes.write_collection(folder, items))


def load(url, bands=None, spatial=None, temporal=None):
    return stac.load(str(url), Query.of(spatial, temporal), bands)


def box(left, bottom, right, top):
    return {"west": left, "south": bottom, "east": right, "north": top, "crs": 32631}


@pytest.mark.parametrize("coded", [True, False])
def test_a_saved_cube_comes_back(source, tmp_path, codecs, building, coded):
    cube = load(source, ["B04", "B05", "SCL"])
    if coded:
        cube = compress_cube(cube, "fake-any")
    write_store(cube, tmp_path / "cube.zarr")
    for url in (tmp_path / "cube.zarr/item.json", tmp_path / "cube.zarr"):
        with building():
            back = load(url)
        assert back.dims == cube.dims
        assert back.dtype == cube.dtype
        assert back.rio.crs == cube.rio.crs
        assert back.attrs["nc:scale"] == 1.0
        np.testing.assert_array_equal(back.values, cube.values)
        for dim in cube.dims:
            np.testing.assert_array_equal(back[dim], cube[dim])


def test_extents_and_bands_select_from_a_store(source, tmp_path, codecs):
    cube = compress_cube(load(source, ["B04", "B05", "SCL"]), "fake-any")
    write_store(cube, tmp_path / "cube.zarr")
    left, top = scenes.LEFT, scenes.TOP
    extent = box(left + 96, top - 404, left + 304, top - 96)
    part = load(tmp_path / "cube.zarr", ["SCL", "B04"], extent, ["2022-06-02", None])
    expected = cube.isel(t=[1], bands=[2, 0], y=slice(10, 40), x=slice(10, 30))
    xr.testing.assert_equal(
        part.compute().reset_coords(drop=True), expected.compute().reset_coords(drop=True)
    )
    with pytest.raises(AssetMissingError, match=r"no band B09\. It has: B04, B05, SCL"):
        load(tmp_path / "cube.zarr", ["B09"])
    with pytest.raises(NoDataAvailableError):
        load(tmp_path / "cube.zarr", None, box(0, 0, 10, 10))
    with pytest.raises(NoDataAvailableError):
        load(tmp_path / "cube.zarr", None, None, ["2022-06-02", "2022-06-03"])


def test_a_saved_embedding_comes_back_and_decodes(source, tmp_path, codecs):
    cube = load(source, ["B04", "B05", "B01"]).assign_coords(bands=["B02", "B03", "B04"])
    embedding = encode_cube(cube, "fake-rgb")
    write_store(embedding, tmp_path / "embedding.zarr")
    back = load(tmp_path / "embedding.zarr")
    assert back.dims == ("t", "embedding", "y", "x")
    np.testing.assert_array_equal(back.values, embedding.values)
    decoded, expected = decode_cube(back).values, decode_cube(embedding).values
    kept = np.isfinite(expected)  # the store of an embedding knows no data by patch
    np.testing.assert_array_equal(decoded[kept], expected[kept])
    assert kept[1].all()


def test_stores_of_several_items_are_joined_in_time(source, tmp_path):
    cube = load(source, ["B04"])
    features = []
    for date, name in ((1, "second"), (0, "first")):
        write_store(cube.isel(t=[date]), tmp_path / f"{name}.zarr")
        item = json.loads((tmp_path / f"{name}.zarr/item.json").read_text())
        item["assets"]["data"]["href"] = str(tmp_path / f"{name}.zarr")
        features.append(item)
    path = scenes.write_items(tmp_path / "both.json", features)
    np.testing.assert_array_equal(load(path).values, cube.values)
    write_store(cube.isel(t=[0], x=slice(0, 30)), tmp_path / "half.zarr")
    item["assets"]["data"]["href"] = str(tmp_path / "half.zarr")
    with pytest.raises(GridMismatchError, match="different pixels"):
        load(scenes.write_items(tmp_path / "unequal.json", features))


def test_a_store_of_others_is_opened(source, tmp_path):
    cube = load(source, ["B04"])
    xr.Dataset({"reflectance": cube.drop_attrs().drop_vars("bands")}).to_zarr(
        tmp_path / "other.zarr", zarr_format=3, consolidated=False
    )
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "other", "links": [],
        "properties": {"datetime": "2022-06-01T00:00:00Z"},
        "assets": {"zarr": {"href": "./other.zarr", "type": "application/vnd+zarr"}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    np.testing.assert_array_equal(load(tmp_path / "item.json").values, cube.values)


def test_a_store_that_is_not_there_is_named(tmp_path):
    item = {
        "type": "Feature", "id": "lost", "properties": {"datetime": "2022-06-01T00:00:00Z"},
        "assets": {"data": {"href": "./lost.zarr", "type": "application/vnd+zarr"}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(AssetMissingError, match=r"item 'lost' \(.*lost\.zarr\)"):
        load(tmp_path / "item.json")
