"""Zarr stores of quantised embeddings: integers that any reader opens, vectors that come back."""

from __future__ import annotations

import json

import embedding_cubes
import numpy as np
import pytest
import xarray as xr
import zarr

from openeo_nc.cubes.embedding_store import open_embeddings
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.stac import load
from openeo_nc.cubes.stored import open_cube
from openeo_nc.errors import FormatUnsuitableError, InvalidParameterError
from openeo_nc.models.quantisation import cosine_error
from openeo_nc.processes.save_result import save_result

NAMES = ("float32", "int8", "int8_power", "pca8+int8", "binary", "rans")


def saved(cube, path, **options):
    with output_folder(path, exist_ok=True) as outputs:
        save_result(cube, "ZARR", options)
    return outputs.saved[0]


@pytest.mark.parametrize("name", NAMES)
def test_vectors_come_back_to_the_last_bit(tmp_path, name):
    cube = embedding_cubes.cube(name)
    result = saved(cube, tmp_path / "out")
    again = open_cube(result.path)
    xr.testing.assert_equal(again.drop_attrs(), cube.drop_attrs())
    assert again.attrs["nc:quantization"] == json.dumps(
        json.loads(cube.attrs["nc:quantization"]), separators=(",", ":"), sort_keys=True
    )
    assert {k: again.attrs[k] for k in ("nc:model", "nc:stride", "emb:type")} == {
        k: cube.attrs[k] for k in ("nc:model", "nc:stride", "emb:type")
    }
    assert again.rio.crs == cube.rio.crs
    assert again.chunks is not None


def test_plain_xarray_reads_integers_and_scales(tmp_path):
    cube = embedding_cubes.cube("int8")
    path = saved(cube, tmp_path / "out").path
    with xr.open_zarr(path, decode_coords="all") as data:
        assert data.embeddings.dtype == np.int8
        assert data.embeddings.dims == ("t", "embedding", "y", "x")
        told = data.embeddings.attrs["nc:dequantization"]
        assert "scale[:, None] * embeddings" in told
        embeddings, scale = data.embeddings.values, data.scale.values
        vectors = scale[:, None] * embeddings
        assert int(data.spatial_ref.attrs["crs_wkt"].count("32631"))
    np.testing.assert_array_equal(vectors, cube.values)


def test_binary_is_an_eighth_of_a_byte_a_value(tmp_path):
    path = saved(embedding_cubes.cube("binary"), tmp_path / "out").path
    group = zarr.open_group(path, mode="r")
    assert group["embeddings"].shape == (2, 2, 10, 14)
    assert group["embeddings"].dtype == np.uint8
    assert list(group["embedding"][:]) == [f"e{i:03d}" for i in range(16)]


def test_a_mean_over_dates_is_the_mean_of_vectors(tmp_path):
    cube = embedding_cubes.cube("int8", hole=False)
    again = open_cube(saved(cube, tmp_path / "out").path).mean("t")
    np.testing.assert_allclose(again.values, cube.values.astype(float).mean(0), atol=1e-6)


def test_an_option_names_another_quantiser(tmp_path):
    cube = embedding_cubes.cube("float32")
    again = open_cube(saved(cube, tmp_path / "out", quantization="int8").path)
    flat = [c.transpose("t", "y", "x", "embedding").values.reshape(-1, 16) for c in (cube, again)]
    assert 0 < cosine_error(*flat)[0] < 1e-4
    with pytest.raises(InvalidParameterError, match="sample"):
        saved(cube, tmp_path / "no", quantization="rans")
    with pytest.raises(InvalidParameterError, match="no quantiser"):
        saved(cube, tmp_path / "no", quantization="int3")
    with pytest.raises(FormatUnsuitableError, match="embedding"):
        saved(cube.rename(embedding="bands"), tmp_path / "no", quantization="int8")


def test_dimensions_that_were_taken_away_stay_away(tmp_path):
    cube = embedding_cubes.cube("pca8+int8").isel(embedding=slice(0, 5))
    again = open_cube(saved(cube, tmp_path / "out").path)
    assert list(again.embedding.values) == ["e000", "e001", "e002", "e003", "e004"]
    np.testing.assert_allclose(again.values, cube.values, atol=0.01)


def test_a_cube_without_dates(tmp_path):
    cube = embedding_cubes.cube("int8").isel(t=0, drop=True)
    again = open_cube(saved(cube, tmp_path / "out").path)
    xr.testing.assert_equal(again.drop_attrs(), cube.drop_attrs())


def test_building_reads_and_quantises_nothing(tmp_path, monkeypatch):
    cube = embedding_cubes.cube("int8")

    def fail(*_a, **_k):
        raise AssertionError("computed while it was built")

    path = saved(cube, tmp_path / "out").path
    monkeypatch.setattr("openeo_nc.cubes.embedding_codes.dequantised", fail)
    open_cube(path).mean("t")


def test_the_item_and_collection_follow_the_schema(tmp_path, schemas):
    path = saved(embedding_cubes.cube("int8"), tmp_path / "out").path
    item = json.loads((path / "item.json").read_text())
    collection = json.loads((path / "collection.json").read_text())
    schemas("embeddings-v0.0.1.json").validate(item)
    schemas("embeddings-v0.0.1.json").validate(collection)
    assert collection["emb:dimensions"] == 16
    assert collection["data_type"] == "int8"
    assert collection["emb:chip_layout"]["stride"] == [8, 8]
    assert item["properties"]["emb:quantization"]["method"] == "int8"
    assert item["properties"]["proj:transform"][:3] == [80.0, 0.0, 600_000.0]
    assert {"emb:model", "emb:source-data"} <= {link["rel"] for link in item["links"]}
    group = json.loads((path / "zarr.json").read_text())
    schemas("zarr-conventions.json").validate(group)
    assert group["attributes"]["geoemb:gsd"] == 80.0
    for change in ({"emb:type": "patch"}, {"emb:dimensions": 0}, {"links": []}):
        assert not schemas("embeddings-v0.0.1.json").is_valid({**collection, **change})


def test_load_stac_opens_the_store(tmp_path):
    cube = embedding_cubes.cube("int8")
    path = saved(cube, tmp_path / "out").path
    again = load(str(path / "item.json"))
    np.testing.assert_array_equal(again.values, cube.values)


def test_other_stores_are_none(tmp_path):
    plain = embedding_cubes.cube("int8")
    del plain.attrs["nc:quantization"]
    path = saved(plain, tmp_path / "out").path
    assert open_embeddings(path) is None
    np.testing.assert_array_equal(open_cube(path).values, plain.values)
