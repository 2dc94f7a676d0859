"""GeoParquet and COGs of embeddings: written, read back exactly, and by other libraries."""

from __future__ import annotations

import json

import embedding_cubes
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import xarray as xr

from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.errors import FormatUnsuitableError, InvalidParameterError
from openeo_nc.processes.save_result import save_result

NAMES = ("float32", "int8", "int8_power", "pca8+int8", "binary", "rans")


def saved(cube, path, form, **options):
    with output_folder(path, exist_ok=True) as outputs:
        save_result(cube, form, options)
    return outputs.saved[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_comes_back_to_the_last_bit(tmp_path, name):
    cube = embedding_cubes.cube(name)
    result = saved(cube, tmp_path / "out", "PARQUET")
    again = load_vectors(str(result.path))
    xr.testing.assert_equal(again.drop_attrs().transpose(*cube.dims), cube.drop_attrs())
    assert json.loads(again.attrs["nc:quantization"]) == json.loads(cube.attrs["nc:quantization"])
    assert again.rio.crs == cube.rio.crs
    assert not list((tmp_path / "out").glob(".*"))


def test_geopandas_reads_a_row_a_patch(tmp_path):
    cube = embedding_cubes.cube("int8")
    result = saved(cube, tmp_path / "out", "PARQUET")
    frame = geopandas.read_parquet(result.path)
    assert len(frame) == 2 * 10 * 14 - 3  # patches without data have no row
    assert frame.crs.to_epsg() == 32631
    assert (frame.area == 80 * 80).all()
    row = frame.iloc[20]
    there = cube.sel(t=row.datetime.tz_convert(None), x=row.x, y=row.y).values
    np.testing.assert_array_equal(row.embedding.astype(np.float32) * np.float32(row.scale), there)
    assert row.geometry.centroid.x == row.x
    schema = pq.read_schema(result.path)
    assert schema.field("embedding").type.list_size == 16
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["bbox"] == [600_000, 4_999_200, 601_120, 5_000_000]


def test_points_and_cubes_without_dates(tmp_path):
    cube = embedding_cubes.cube("int8").isel(t=0, drop=True)
    result = saved(cube, tmp_path / "out", "PARQUET", geometry="point")
    assert set(geopandas.read_parquet(result.path).geom_type) == {"Point"}
    again = load_vectors(str(result.path))
    xr.testing.assert_equal(again.drop_attrs(), cube.drop_attrs())
    with pytest.raises(InvalidParameterError, match="polygon or point"):
        saved(cube, tmp_path / "no", "PARQUET", geometry="line")
    with pytest.raises(FormatUnsuitableError, match="embedding cubes"):
        saved(cube.rename(embedding="bands"), tmp_path / "no", "PARQUET")


def test_one_row_of_patches_keeps_their_size(tmp_path):
    cube = embedding_cubes.cube("int8", hole=False).rio.write_transform().isel(y=[3])
    result = saved(cube, tmp_path / "out", "PARQUET")
    again = load_vectors(str(result.path))
    np.testing.assert_array_equal(again.values, cube.values)
    assert again.rio.resolution() == (80, -80)


def test_extents_and_dimensions_select(tmp_path):
    from openeo_nc.cubes.query import Query

    cube = embedding_cubes.cube("int8")
    result = saved(cube, tmp_path / "out", "PARQUET")
    box = {"west": 600_160, "south": 4_999_600, "east": 600_560, "north": 4_999_920, "crs": 32631}
    query = Query.of(box, ["2024-06-05", "2024-06-09"])
    again = load_vectors(str(result.path), query, ["e003", "e001"])
    expected = cube.isel(t=[1], embedding=[3, 1], x=slice(2, 7), y=slice(1, 5))
    xr.testing.assert_equal(again.drop_attrs(), expected.drop_attrs())
    with pytest.raises(InvalidParameterError, match="e099"):
        load_vectors(str(result.path), dimensions=["e099"])


@pytest.mark.parametrize("name", NAMES[1:])
def test_cogs_come_back_to_the_last_bit(tmp_path, name):
    cube = embedding_cubes.cube(name)
    result = saved(cube, tmp_path / "out", "GTIFF")
    tifs = [file for file in result.files if file.suffix == ".tif"]
    dates = [file for file in tifs if "scale" not in file.name]
    assert len(dates) == 2
    again = xr.concat([load_vectors(str(file)) for file in dates], "t")
    again = again.transpose(*cube.dims).assign_coords(t=cube.t)
    xr.testing.assert_equal(again.drop_attrs(), cube.drop_attrs())
    assert load_vectors(str(dates[0])).attrs["nc:model"] == cube.attrs["nc:model"]


def test_a_cog_is_int8_with_its_no_data(tmp_path):
    cube = embedding_cubes.cube("int8_power")
    result = saved(cube, tmp_path / "out", "GTIFF")
    assert len([f for f in result.files if f.suffix == ".tif"]) == 2
    with rasterio.open(result.path) as file:
        assert set(file.dtypes) == {"int8"}
        assert file.nodata == -128
        assert file.descriptions[0] == "e000"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        values = file.read().astype(float)
    vectors = np.where(values == -128, np.nan, np.sign(values) * (values / 127.5) ** 2)
    np.testing.assert_allclose(vectors, cube.isel(t=0).values, rtol=1e-6)


@pytest.mark.parametrize("form", ["PARQUET", "GTIFF"])
def test_items_beside_files_follow_the_schema(tmp_path, schemas, form):
    cube = embedding_cubes.cube("int8")
    result = saved(cube, tmp_path / "out", form)
    folder = tmp_path / "out"
    collection = json.loads((folder / "result-collection.json").read_text())
    schemas("embeddings-v0.0.1.json").validate(collection)
    hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert len(hrefs) == (1 if form == "PARQUET" else 2)
    for href in hrefs:
        item = json.loads((folder / href).read_text())
        schemas("embeddings-v0.0.1.json").validate(item)
        assert (folder / item["assets"]["embeddings"]["href"]).is_file()
    again = load_vectors(str(folder / "result-collection.json"))
    xr.testing.assert_equal(again.drop_attrs().transpose(*cube.dims), cube.drop_attrs())
    assert {*result.files, *result.documents} == {f for f in folder.iterdir() if f.is_file()}
    assert {f.suffix for f in result.files} == {".parquet" if form == "PARQUET" else ".tif"}
    size = sum(f.stat().st_size for f in (*result.files, *result.documents))
    assert result.bytes == size


def test_a_model_that_is_known_is_described(tmp_path, schemas):
    from openeo_nc.models.registry import list_models

    card = next(iter(list_models()))
    cube = embedding_cubes.cube("int8")
    cube.attrs["nc:model"] = json.dumps({"id": card.model_id, "version": card.version})
    saved(cube, tmp_path / "out", "PARQUET")
    model = json.loads((tmp_path / "out" / "result-model.json").read_text())
    schemas("mlm-v1.5.json").validate(model)
    item = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {"rel": "emb:model", "href": "./result-model.json", "type": "application/geo+json"} in (
        item["links"]
    )
