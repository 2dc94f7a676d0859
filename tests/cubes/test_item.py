"""STAC Items and Zarr attributes of stores, against the schemas of those who define them."""

import copy
import json
from pathlib import Path

import fakes
import numpy as np
import pystac
import pytest
from embedding_schemas import STAC_1_1
from pyproj import Transformer

from openeo_nc.codecs import registry
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.model_item import model_item
from openeo_nc.cubes.store import write_store


@pytest.fixture(autouse=True)
def _codecs(codecs):
    pass


def written(path):
    return json.loads((path / "item.json").read_text())


def test_the_item_of_a_compressed_cube(tmp_path, schemas):
    cube = fakes.cube(x0=600_070.0, y0=5_000_030.0)
    write_store(compress_cube(cube, "fake-rgb", 5.0), tmp_path / "scene.zarr")
    item = written(tmp_path / "scene.zarr")
    schemas(STAC_1_1).validate(item)
    assert item["id"] == "scene"
    properties = item["properties"]
    assert properties["nc:codec"] == "fake-rgb"
    assert properties["nc:quality"] == 5.0
    assert properties["nc:bpppb"] > 0
    assert properties["nc:metrics"]["psnr"] > 40
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2022-06-01T00:00:00Z"
    assert properties["end_datetime"] == "2022-06-06T00:00:00Z"
    assert properties["proj:code"] == "EPSG:32631"
    assert properties["proj:transform"] == [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_000_160.0]
    assert properties["proj:shape"] == [64, 48]
    assert properties["proj:bbox"] == [600_000.0, 4_999_520.0, 600_480.0, 5_000_160.0]
    assert [band["name"] for band in item["assets"]["data"]["bands"]] == list(fakes.RGB)
    assert item["assets"]["data"]["href"] == "./"
    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform
    west, south, east, north = item["bbox"]
    corners = np.array(
        [to_degrees(x, y) for x in (600_070, 600_430) for y in (4_999_630, 5_000_030)]
    )
    np.testing.assert_allclose([west, south], corners.min(axis=0), atol=1e-9)
    np.testing.assert_allclose([east, north], corners.max(axis=0), atol=1e-9)


def test_the_item_of_an_embedding(tmp_path, schemas):
    write_store(encode_cube(fakes.cube(dates=1), "fake-rgb", 6.0), tmp_path / "e.zarr")
    item = written(tmp_path / "e.zarr")
    schemas("embeddings-v0.0.1.json").validate(item)
    assert set(item["assets"]) == {"embeddings"}
    assert item["properties"]["datetime"] == "2022-06-01T00:00:00Z"
    assert item["properties"]["emb:quantization"]["scale"] == [4.0]
    assert item["properties"]["proj:shape"] == [12, 12]
    assert item["properties"]["proj:transform"][0] == 40.0
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links["emb:decoder"] == links["mlm:model"] == "./.nc/model.json"
    schemas("mlm-v1.5.json").validate(
        json.loads((tmp_path / "e.zarr" / ".nc" / "model.json").read_text())
    )


def test_the_schemas_tell_wrong_items(tmp_path, schemas):
    """The stand-ins above must not make validation empty."""
    write_store(encode_cube(fakes.cube(dates=1), "fake-rgb", 6.0), tmp_path / "e.zarr")
    item = written(tmp_path / "e.zarr")
    for change in (
        {"stac_version": "0.9"},
        {"assets": {"data": item["assets"]["embeddings"]}},
        {"properties": {**item["properties"], "emb:unknown": 1}},
        {"links": [{"rel": "self"}]},
    ):
        assert not schemas("embeddings-v0.0.1.json").is_valid({**copy.deepcopy(item), **change})


@pytest.mark.parametrize("codec_id", ["fake-any", "fake-rgb"])
@pytest.mark.parametrize("weights_here", [False, True])
def test_the_item_of_a_model(schemas, codec_id, weights_here):
    item = model_item(registry.get_card(codec_id), weights_here=weights_here)
    schemas("mlm-v1.5.json").validate(item)
    schemas(STAC_1_1).validate(item)


def test_the_item_of_a_plain_store(tmp_path, schemas):
    cube = fakes.cube().rio.write_crs('LOCAL_CS["here",UNIT["metre",1]]')
    for name, plain in {
        "raster": fakes.cube() * 2,
        "degrees": fakes.cube(x0=2.0, y0=45.0, res=0.001, crs="EPSG:4326"),
        "no dates": fakes.cube(dates=1).isel(t=0, drop=True),
        "no place": fakes.cube().mean(("x", "y")),
        "no crs": fakes.cube().drop_vars("spatial_ref"),
        "irregular": fakes.cube().isel(x=[0, 1, 5]),
    }.items():
        write_store(plain, tmp_path / name)
        item = written(tmp_path / name)
        schemas(STAC_1_1).validate(item)
        assert (item["geometry"] is None) == (name in ("no place", "no crs", "irregular"))
        assert "nc:codec" not in item["properties"]
    assert cube.rio.crs is not None
    assert written(tmp_path / "degrees")["bbox"] == pytest.approx([2.0, 44.96, 2.036, 45.0])


def test_group_attributes_follow_the_zarr_conventions(tmp_path, schemas):
    write_store(encode_cube(fakes.cube(), "fake-rgb", 6.0), tmp_path / "e.zarr")
    for document in (
        tmp_path / "e.zarr" / "zarr.json",
        tmp_path / "e.zarr" / ".nc/pixels/zarr.json",
    ):
        group = json.loads(document.read_text())
        schemas("zarr-conventions.json").validate(group)
        attributes = group["attributes"]
        names = {convention["name"] for convention in attributes["zarr_conventions"]}
        latents = "geoemb:" in names
        assert names == {"proj:", "spatial:"} | ({"geoemb:"} if latents else set())
        assert latents == (document.parent.name == "e.zarr")
        size, count = (40.0, 12) if latents else (10.0, 48)
        assert attributes["proj:code"] == "EPSG:32631"
        assert attributes["spatial:dimensions"] == ["y", "x"]
        assert attributes["spatial:transform"] == [size, 0.0, 600_000.0, 0.0, -size, 5_000_000.0]
        assert attributes["spatial:shape"] == [count, count]
        if latents:
            assert attributes["geoemb:type"] == "chip"
            assert attributes["geoemb:dimensions"] == 48
            assert attributes["geoemb:chip_layout"]["chip_size"] == [4, 4]
            assert attributes["geoemb:quantization"]["scale"] == 4.0
            assert attributes["geoemb:gsd"] == 40.0


def test_pystac_reads_the_item(tmp_path):
    write_store(compress_cube(fakes.cube(), "fake-rgb", 5.0), tmp_path / "s.zarr")
    item = pystac.Item.from_file(str(tmp_path / "s.zarr" / "item.json"))
    assert Path(item.assets["data"].get_absolute_href()) == tmp_path / "s.zarr"
    model = next(link for link in item.links if link.rel == "mlm:model")
    assert Path(model.get_absolute_href()).is_file()
