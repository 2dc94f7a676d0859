"""Layouts of others: AlphaEarth, Clay, TESSERA, Major TOM; small files made here, and real ones."""

from __future__ import annotations

import io
import json

import dask
import embedding_cubes
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import xarray as xr
from rasterio.transform import Affine

from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.query import Query
from openeo_nc.errors import (
    AssetMissingError,
    FormatUnsuitableError,
    GridMismatchError,
    NoDataAvailableError,
)
from openeo_nc.models.quantisation import quantiser
from openeo_nc.processes.load_embeddings import load_embeddings


def refuse(*_a, **_k):
    raise AssertionError("computed while it was built")


@pytest.fixture
def alphaearth(tmp_path):
    """A bottom-up file of 64 bands, as AlphaEarth's are, with vectors `(64, y, x)` north-up."""
    v = embedding_cubes.vectors(40 * 30, 64)
    codes = quantiser("int8_power", dim=64).quantise(v).values.T.reshape(64, 40, 30).copy()
    codes[:, 3, 4] = -128
    path = tmp_path / "2024" / "31N" / "x.tiff"
    path.parent.mkdir(parents=True)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="int8", count=64, height=40, width=30, nodata=-128,
        crs="EPSG:32631", transform=Affine(10, 0, 600_000, 0, 10, 5_000_000), tiled=True,
        blockxsize=16, blockysize=16,
    ) as file:  # fmt: skip
        file.write(codes[:, ::-1])
    ints = codes.astype(float)
    return path, np.where(ints == -128, np.nan, np.sign(ints) * (ints / 127.5) ** 2)


def test_alphaearth_comes_north_up_and_dequantised(alphaearth):
    path, expected = alphaearth
    with dask.config.set(scheduler=refuse):
        cube = load_vectors(str(path))
    assert cube.dims == ("t", "embedding", "y", "x")
    assert list(cube.embedding.values[:2]) == ["A00", "A01"]
    assert cube.t.values[0] == np.datetime64("2024-01-01")
    assert cube.y.values[0] == 5_000_395
    assert cube.x.values[0] == 600_005
    np.testing.assert_allclose(cube.values[0], expected, rtol=1e-6)
    assert cube.dtype == np.float32


def test_a_part_of_alphaearth(alphaearth):
    path, expected = alphaearth
    box = {"west": 600_050, "south": 5_000_100, "east": 600_100, "north": 5_000_300, "crs": 32631}
    cube = load_embeddings(str(path), box, ["2024-01-01", "2025-01-01"], ["A07", "A02"])
    np.testing.assert_allclose(cube.values[0], expected[[7, 2], 10:30, 5:10], rtol=1e-6)
    with pytest.raises(NoDataAvailableError):
        load_embeddings(str(path), None, ["2020-01-01", "2021-01-01"])
    with pytest.raises(NoDataAvailableError):
        load_embeddings(str(path), {**box, "west": 700_000, "east": 700_100})


def test_the_mean_over_years_is_that_of_vectors(alphaearth, tmp_path):
    """Not of integers, of which squares are taken."""
    path, expected = alphaearth
    other = tmp_path / "2023" / "31N" / "x.tiff"
    other.parent.mkdir(parents=True)
    with rasterio.open(path) as file:
        profile, codes = file.profile, file.read()
    with rasterio.open(other, "w", **profile) as file:
        file.write(np.where(codes == -128, -128, -(codes // 2)))
    with rasterio.open(other) as file:
        ints = file.read()[:, ::-1].astype(float)
    second = np.where(ints == -128, np.nan, np.sign(ints) * (ints / 127.5) ** 2)
    cube = xr.concat([load_vectors(str(p)) for p in (other, path)], "t")
    np.testing.assert_allclose(
        cube.mean("t", skipna=False).values, (expected + second) / 2, atol=1e-7
    )


def test_a_stac_item_names_the_file_and_its_date(alphaearth, tmp_path):
    path, expected = alphaearth
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "a", "links": [],
        "geometry": None, "bbox": [4.2, 45.1, 4.3, 45.2],
        "properties": {"datetime": "2024-07-01T00:00:00Z"},
        "assets": {"embeddings": {"href": str(path), "type": "image/tiff"}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    cube = load_vectors(str(tmp_path / "item.json"))
    assert cube.t.values[0] == np.datetime64("2024-07-01")
    np.testing.assert_allclose(cube.values[0], expected, rtol=1e-6)
    item["assets"] = {"x": {"href": str(path)}}
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(AssetMissingError, match="embeddings"):
        load_vectors(str(tmp_path / "item.json"))


def test_items_on_other_grids_are_not_joined(alphaearth, tmp_path):
    path, _ = alphaearth
    moved = path.with_name("y.tiff")
    with rasterio.open(path) as file:
        profile, codes = file.profile, file.read()
    with rasterio.open(moved, "w", **{**profile, "transform": Affine(10, 0, 3, 0, 10, 0)}) as file:
        file.write(codes)
    features = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": p.stem, "links": [],
            "geometry": None, "properties": {"datetime": f"202{i}-07-01T00:00:00Z"},
            "assets": {"embeddings": {"href": str(p)}},
        }
        for i, p in enumerate((path, moved))
    ]  # fmt: skip
    both = tmp_path / "items.json"
    both.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(GridMismatchError):
        load_vectors(str(both))


def test_neighbours_and_years_are_joined(alphaearth, tmp_path):
    path, expected = alphaearth
    with rasterio.open(path) as file:
        profile, codes = file.profile, file.read()
    east = path.with_name("east.tiff")  # 20 columns east and 10 rows north, so they overlap
    moved = {**profile, "transform": Affine(10, 0, 600_200, 0, 10, 5_000_100)}
    with rasterio.open(east, "w", **moved) as file:
        file.write(codes)
    features = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": f"{year}{p.stem}", "links": [],
            "geometry": None, "properties": {"datetime": f"{year}-07-01T00:00:00Z"},
            "assets": {"embeddings": {"href": str(p)}},
        }
        for year, p in ((2024, path), (2024, east), (2023, path))
    ]  # fmt: skip
    found = tmp_path / "items.json"
    found.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with dask.config.set(scheduler=refuse):
        cube = load_vectors(str(found))
    assert dict(cube.sizes) == {"t": 2, "embedding": 64, "y": 50, "x": 50}
    assert (cube.x.values[0], cube.y.values[0]) == (600_005, 5_000_495)
    whole = np.full((2, 64, 50, 50), np.nan)
    whole[1, :, :40, 20:] = expected
    # of one date, the first item by id: "2024east" before "2024x"
    own = whole[1, :, 10:, :30]
    whole[1, :, 10:, :30] = np.where(np.isnan(own), expected, own)
    whole[0, :, 10:, :30] = expected
    np.testing.assert_allclose(cube.values, whole, rtol=1e-6)


def test_an_item_without_patches_in_the_extent_is_passed_over(alphaearth, tmp_path):
    """Its box in degrees is wider than its pixels, as of neighbours in UTM; none at all is an error."""
    path, expected = alphaearth
    east = path.with_name("east.tiff")
    with rasterio.open(path) as file:
        profile, codes = file.profile, file.read()
    with rasterio.open(
        east, "w", **{**profile, "transform": Affine(10, 0, 600_300, 0, 10, 5_000_000)}
    ) as file:
        file.write(codes)
    features = [
        {
            "type": "Feature", "stac_version": "1.0.0", "id": p.stem, "links": [],
            "geometry": None, "bbox": [4.0, 45.0, 4.5, 45.5],
            "properties": {"datetime": "2024-07-01T00:00:00Z"},
            "assets": {"embeddings": {"href": str(p)}},
        }
        for p in (path, east)
    ]  # fmt: skip
    found = tmp_path / "items.json"
    found.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    box = {"west": 600_050, "south": 5_000_100, "east": 600_100, "north": 5_000_300, "crs": 32631}
    cube = load_embeddings(str(found), box)
    np.testing.assert_allclose(cube.values[0], expected[:, 10:30, 5:10], rtol=1e-6)
    with pytest.raises(NoDataAvailableError):
        load_embeddings(str(found), {**box, "west": 605_000, "east": 605_100})


def test_a_season_of_an_annual_item_has_the_vectors_of_its_year(alphaearth, tmp_path):
    path, expected = alphaearth
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "a", "links": [], "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2025-01-01T00:00:00Z",
        },
        "assets": {"embeddings": {"href": str(path)}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    cube = load_embeddings(str(tmp_path / "item.json"), None, ["2024-06-01", "2024-09-01"])
    assert cube.t.values[0] == np.datetime64("2024-01-01")
    np.testing.assert_allclose(cube.values[0], expected, rtol=1e-6)
    with pytest.raises(NoDataAvailableError):
        load_embeddings(str(tmp_path / "item.json"), None, ["2026-06-01", "2026-09-01"])


def test_no_data_of_floats_is_none(tmp_path):
    v = embedding_cubes.vectors(12, 6).T.reshape(6, 3, 4).astype(np.float32)
    v[:, 1, 2] = -9999
    path = tmp_path / "floats.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=6, height=3, width=4, nodata=-9999,
        crs="EPSG:32631", transform=Affine(10, 0, 600_000, 0, -10, 5_000_000),
    ) as file:  # fmt: skip
        file.write(v)
    np.testing.assert_array_equal(load_vectors(str(path)).values, np.where(v == -9999, np.nan, v))


def test_of_a_tile_of_tessera_on_the_web_only_rows_that_are_wanted_are_fetched(
    tmp_path, monkeypatch
):
    from openeo_nc.cubes import embedding_rasters
    from openeo_nc.cubes.remote_file import Source

    codes = np.random.default_rng(2).integers(-127, 128, (200, 12, 128)).astype(np.int8)
    for i, saved in enumerate((codes, np.asfortranarray(codes))):
        path = tmp_path / f"{i}.npy"
        np.save(path, saved)
        read = embedding_rasters._rows(Source(href=str(path)), slice(130, 150))
        np.testing.assert_array_equal(read, codes[130:150])

    fetched = []

    class Counting(io.BytesIO):
        def read(self, count=-1):
            data = super().read(count)
            fetched.append(len(data))
            return data

    data = (tmp_path / "0.npy").read_bytes()
    monkeypatch.setattr(Source, "open", lambda self: Counting(data))
    embedding_rasters._rows(Source(href="https://a.example/0.npy"), slice(130, 150))
    assert sum(fetched) <= 20 * 12 * 128 + 256


@pytest.mark.parametrize("per_value", [False, True])
@pytest.mark.parametrize("layout", ["beside", "geotessera"])
def test_a_tile_of_tessera(tmp_path, per_value, layout):
    rng = np.random.default_rng(2)
    codes = rng.integers(-127, 128, (20, 12, 128)).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, (20, 12, 128) if per_value else (20, 12)).astype(np.float32)
    scales[4, 5] = np.nan
    root = tmp_path / "global_0.1_degree_representation" / "2023" / "grid_4.25_45.15"
    root.mkdir(parents=True)
    np.save(root / "grid_4.25_45.15.npy", codes)
    np.save(root / "grid_4.25_45.15_scales.npy", scales)
    folder = root if layout == "beside" else tmp_path / "global_0.1_degree_tiff_all"
    folder.mkdir(exist_ok=True)
    with rasterio.open(
        folder / "grid_4.25_45.15.tiff", "w", driver="GTiff", dtype="uint8", count=1, height=20,
        width=12, crs="EPSG:32631", transform=Affine(10, 0, 600_000, 0, -10, 5_000_000),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 20, 12), np.uint8))
    cube = load_vectors(str(root / "grid_4.25_45.15.npy"))
    expected = codes * (scales if per_value else scales[..., None])
    np.testing.assert_allclose(cube.values[0], expected.transpose(2, 0, 1), rtol=1e-6)
    assert cube.t.values[0] == np.datetime64("2023-01-01")
    assert np.isnan(cube.values[0, :, 4, 5]).all()
    assert (cube.y.values[0], cube.rio.crs.to_epsg()) == (4_999_995, 32631)
    (root / "grid_4.25_45.15_scales.npy").unlink()
    with pytest.raises(AssetMissingError, match="scales"):
        load_vectors(str(root / "grid_4.25_45.15.npy"))


def test_a_table_of_major_tom(tmp_path):
    v = embedding_cubes.vectors(30, 8)
    lon, lat = np.random.default_rng(0).uniform((5, 40), (6, 41), (30, 2)).T
    columns = {
        "unique_id": [f"{i:032x}" for i in range(30)],
        "embedding": list(v),
        "grid_cell": [f"{i}U_{i}R" for i in range(30)],
        "timestamp": ["20230103T100401" if i % 2 else "20230214T100401" for i in range(30)],
        "centre_lat": lat,
        "centre_lon": lon,
        "utm_crs": ["EPSG:32631"] * 30,
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with dask.config.set(scheduler=refuse):
        cube = load_vectors(str(tmp_path / "a.parquet"))
    assert cube.dims == ("geometry", "embedding")
    np.testing.assert_array_equal(cube.values, v)
    assert cube.t.values[1] == np.datetime64("2023-01-03T10:04:01")
    assert cube.xvec.geom_coords_indexed
    box = {"west": 5, "south": 40, "east": 5.5, "north": 41}
    part = load_vectors(str(tmp_path / "a.parquet"), Query.of(box, ["2023-02-01", None]))
    keep = (lon < 5.5) & (np.arange(30) % 2 == 0)
    np.testing.assert_array_equal(part.values, v[keep])


def test_patches_in_degrees_on_a_utm_grid_become_a_raster(tmp_path):
    """As Clay's are: squares of a UTM zone, told in longitude and latitude."""
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform
    x, y = (
        c.ravel() for c in np.meshgrid(600_000 + 512 * np.arange(5.0), 4e6 + 512 * np.arange(4.0))
    )
    boxes = shapely.box(x, y, x + 512, y + 512)
    shapes = shapely.transform(boxes, to_degrees, interleaved=False)
    v = embedding_cubes.vectors(20, 6)
    table = pa.table(
        {
            "embeddings": list(v[:18]),
            "date": [pd.Timestamp("2022-06-10").date()] * 18,
            "geometry": shapely.to_wkb(shapes[:18]),
        }
    )
    pq.write_table(table, tmp_path / "clay.parquet")
    cube = load_vectors(str(tmp_path / "clay.parquet"))
    assert dict(cube.sizes) == {"t": 1, "embedding": 6, "y": 4, "x": 5}
    assert cube.rio.crs.to_epsg() == 32631
    expected = np.vstack([v[:18], np.full((2, 6), np.nan)]).reshape(4, 5, 6)[::-1]
    np.testing.assert_array_equal(cube.values[0].transpose(1, 2, 0), expected.astype(np.float32))
    np.testing.assert_allclose(cube.x.values, 600_256 + 512 * np.arange(5), atol=1)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"a": [1]}, FormatUnsuitableError),
        ({"embedding": [[1.0]], "a": [1]}, FormatUnsuitableError),
        ({"embedding": [1.0], "geometry": [b"x"]}, FormatUnsuitableError),
    ],
)
def test_tables_that_hold_no_embeddings(tmp_path, columns, error):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(error):
        load_vectors(str(tmp_path / "a.parquet"))


def test_files_that_are_missing_or_something_else(tmp_path):
    for name in ("a.parquet", "a.tif", "a.npy"):
        with pytest.raises(AssetMissingError):
            load_vectors(str(tmp_path / name))
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(AssetMissingError):
            load_vectors(str(tmp_path / name))
    with rasterio.open(
        tmp_path / "b.tif", "w", driver="GTiff", dtype="uint8", count=1, height=2, width=2,
        crs="EPSG:32631", transform=Affine(10, 0, 0, 0, -10, 0),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 2, 2), np.uint8))
    with pytest.raises(FormatUnsuitableError, match="AlphaEarth"):
        load_vectors(str(tmp_path / "b.tif"))


@pytest.mark.realdata
def test_clays_own_file(shared_data):
    folder = shared_data / "embeddings" / "clay_v0"
    cube = load_vectors(str(folder / "03WVN_20220610.parquet"))
    with xr.open_dataset(folder / "03WVN_20220610.nc") as data:
        known = data.embedding.values
    assert cube.dims == ("t", "embedding", "y", "x")
    assert cube.rio.crs.to_epsg() == 32603
    assert cube.t.values[0] == np.datetime64("2022-06-10")
    flat = cube.values[0].reshape(768, -1).T
    there = flat[np.isfinite(flat).all(1)]
    assert len(there) == 417
    order = [np.lexsort(v.T[:3]) for v in (there, known)]
    np.testing.assert_array_equal(there[order[0]], known[order[1]])
    assert np.diff(cube.x.values) == pytest.approx(2560, rel=0.01) or np.diff(
        cube.x.values
    ) == pytest.approx(5120, rel=0.01)
