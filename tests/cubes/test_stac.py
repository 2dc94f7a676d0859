"""Cubes loaded from STAC against rasterio's own reads of the same files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import stac_scenes as scenes
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from openeo_nc.cubes import reader, stac
from openeo_nc.cubes.grid import TileGrid, pad_to_tiles
from openeo_nc.cubes.query import Query
from openeo_nc.errors import (
    AssetMissingError,
    GridMismatchError,
    InvalidParameterError,
    InvalidValuesError,
    NoDataAvailableError,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def two_dates(folder):
    items = [
        scenes.granule(folder, "early", "2022-06-01T10:50:31Z", edge=6, **{"eo:cloud_cover": 10}),
        scenes.granule(folder, "late", "2022-06-06T10:50:31Z", **{"eo:cloud_cover": 80}),
    ]
    return items, str(scenes.write_collection(folder / "two_dates", items))


def stored(item, key, band=1):
    with rasterio.open(item["assets"][key]["href"]) as file:
        return file.read(band)


def physical(dn, scale=0.0001, offset=-0.1):
    return np.where(dn == 0, np.nan, dn * scale + offset).astype("float32")


def warped(item, key, method, like, scale=1.0, offset=0.0):
    """A whole asset brought to a cube's pixels by rasterio's `reproject`."""
    left, bottom, right, top = like.rio.bounds()
    transform = from_origin(
        left, top, (right - left) / like.sizes["x"], (top - bottom) / like.sizes["y"]
    )
    out = np.full((like.sizes["y"], like.sizes["x"]), np.nan, "float32")
    with rasterio.open(item["assets"][key]["href"]) as file:
        reproject(
            file.read(1).astype("float32"), out, src_transform=file.transform, src_crs=file.crs,
            dst_transform=transform, dst_crs=like.rio.crs, src_nodata=0, dst_nodata=np.nan,
            resampling=method,
        )  # fmt: skip
    return (out.astype("float64") * scale + offset).astype("float32")


def load(url, bands=None, spatial=None, temporal=None, properties=None, **options):
    return stac.load(str(url), Query.of(spatial, temporal, properties), bands, **options)


def box(left, bottom, right, top, crs=32631):
    return {"west": left, "south": bottom, "east": right, "north": top, "crs": crs}


def test_native_bands_are_the_files_numbers_scaled(two_dates):
    items, url = two_dates
    cube = load(url, ["B04"])
    assert cube.dims == ("t", "bands", "y", "x")
    assert cube.dtype == np.float32
    assert cube.rio.crs.to_epsg() == 32631
    assert cube.attrs["nc:scale"] == 1.0
    assert cube.attrs["nc:items"] == ["early", "late"]
    assert cube.attrs["nc:resampling"] == "B04: none"
    assert cube.t.values[0] == np.datetime64("2022-06-01T10:50:31")
    values = cube.values
    for date, item in enumerate(items):
        np.testing.assert_array_equal(values[date, 0], physical(stored(item, "B04")))
    assert np.isnan(values[0, 0, :, :6]).all()
    assert not np.isnan(values[0, 0, :, 6:]).any()
    assert (float(cube.x[0]), float(cube.y[0])) == (scenes.LEFT + 5, scenes.TOP - 5)


def test_coarse_bands_are_resampled_as_stated(two_dates):
    items, url = two_dates
    cube = load(url, ["B04", "B05", "B01", "SCL"])
    assert cube.attrs["nc:resampling"] == "B04: none, B05: bilinear, B01: bilinear, SCL: nearest"
    values = cube.values
    for date, item in enumerate(items):
        for band, key in ((1, "B05"), (2, "B01")):
            expected = warped(item, key, Resampling.bilinear, cube, 0.0001, -0.1)
            np.testing.assert_allclose(values[date, band], expected, atol=2e-6)
        classes = stored(item, "SCL").repeat(2, 0).repeat(2, 1).astype("float32")
        np.testing.assert_array_equal(values[date, 3], np.where(classes == 0, np.nan, classes))


def test_resampling_is_chosen_by_band(two_dates):
    items, url = two_dates
    cube = load(url, ["B05", "B01"], resolution=10, resampling={"B01": "cubic", "B05": "near"})
    assert cube.attrs["nc:resampling"] == "B05: nearest, B01: cubic"
    expected = physical(stored(items[1], "B05")).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(cube.values[1, 0], expected)
    expected = warped(items[1], "B01", Resampling.cubic, cube, 0.0001, -0.1)
    np.testing.assert_allclose(cube.values[1, 1], expected, atol=2e-6)
    with pytest.raises(InvalidParameterError, match="'SCL', a band of classes"):
        load(url, ["SCL"], resampling={"SCL": "cubic"})
    with pytest.raises(InvalidParameterError, match="given 'best'"):
        load(url, ["B05"], resampling="best")


def test_the_finest_band_asked_for_gives_the_pixels(two_dates):
    items, url = two_dates
    cube = load(url, ["B05", "B01"])
    assert cube.rio.resolution() == (20, -20)
    np.testing.assert_array_equal(cube.values[1, 0], physical(stored(items[1], "B05")))
    assert load(url).bands.values.tolist() == ["B04", "B05", "B01", "SCL"]


@pytest.mark.parametrize("style", ["code", "epsg"])
def test_old_and_new_projection_fields_are_read(folder, style):
    item = scenes.granule(folder, f"style_{style}", "2022-06-01T10:00:00Z", style=style)
    path = scenes.write_items(folder / f"style_{style}.json", [item])
    cube = load(path, ["B04"])
    np.testing.assert_array_equal(cube.values[0, 0], physical(stored(item, "B04")))
    assert (float(cube.x[0]), float(cube.y[0])) == (scenes.LEFT + 5, scenes.TOP - 5)


def test_an_asset_without_transform_does_not_take_its_items(folder):
    item = scenes.granule(folder, "bare", "2022-06-01T10:00:00Z")
    for key, asset in item["assets"].items():
        del asset["proj:transform"]
        assert key
    left, top = scenes.LEFT, scenes.TOP
    item["properties"]["proj:transform"] = [10, 0, left, 0, -10, top]
    item["properties"]["proj:bbox"] = [left, top - 600, left + 600, top]
    cube = load(scenes.write_items(folder / "bare.json", [item]), ["B05"])
    assert cube.rio.resolution() == (20, -20)
    np.testing.assert_array_equal(cube.values[0, 0], physical(stored(item, "B05")))


def test_granules_of_a_day_are_mosaicked_by_datetime_then_id(folder):
    same = "2022-06-01T10:00:10Z"
    first = scenes.granule(folder, "b_first", "2022-06-01T10:00:00Z", edge=12)
    second = scenes.granule(folder, "y_second", same, edge=6)
    third = scenes.granule(folder, "x_third", same)
    path = scenes.write_items(folder / "day.json", [second, first, third])
    cube = load(path, ["B04"])
    assert cube.sizes["t"] == 1
    assert cube.attrs["nc:items"] == ["b_first", "x_third", "y_second"]
    assert cube.t.values[0] == np.datetime64("2022-06-01T10:00:00")
    expected = physical(stored(first, "B04"))
    expected[:, :12] = physical(stored(third, "B04"))[:, :12]
    np.testing.assert_array_equal(cube.values[0, 0], expected)
    apart = load(path, ["B04"], mosaic="none")
    assert apart.sizes["t"] == 3
    np.testing.assert_array_equal(apart.values[2, 0], physical(stored(second, "B04")))


def test_neighbouring_granules_become_one_image(folder):
    west = scenes.granule(folder, "west", "2022-06-01T10:00:00Z")
    east = scenes.granule(folder, "east", "2022-06-01T10:00:05Z", left=scenes.LEFT + 480)
    cube = load(scenes.write_items(folder / "sides.json", [west, east]), ["B04"])
    assert cube.shape == (1, 1, 60, 108)
    np.testing.assert_array_equal(cube.values[0, 0, :, :60], physical(stored(west, "B04")))
    np.testing.assert_array_equal(cube.values[0, 0, :, 60:], physical(stored(east, "B04"))[:, 12:])


def test_a_grid_with_a_phase_is_kept(folder):
    item = scenes.granule(folder, "phase", "2022-06-01T10:00:00Z", left=600_003.7, top=5e6 + 2.4)
    cube = load(scenes.write_items(folder / "phase.json", [item]), ["B04", "B05"])
    np.testing.assert_array_equal(cube.values[0, 0], physical(stored(item, "B04")))
    grid = TileGrid.of(cube, 384)
    assert (grid.phase_x, grid.phase_y) == pytest.approx((3.7, 2.4))
    part = load(folder / "phase.json", ["B04"], box(600_103.7, 5e6 - 297.6, 600_203.7, 5e6 - 97.6))
    np.testing.assert_array_equal(part.values, cube[:, :1, 10:30, 10:20].values)
    np.testing.assert_array_equal(part.x, cube.x[10:20])


def test_two_phases_need_a_decision(folder, two_dates):
    off = scenes.granule(folder, "off", "2022-06-02T10:00:00Z", left=600_003.7)
    path = scenes.write_items(folder / "phases.json", [*two_dates[0], off])
    with pytest.raises(GridMismatchError, match=r"0\.37 pixels off"):
        load(path, ["B04"])
    cube = load(path, ["B04"], resolution=10)
    assert TileGrid.of(cube, 384).phase_x == 0
    np.testing.assert_array_equal(
        cube.values[2, 0, :, :60], physical(stored(two_dates[0][1], "B04"))
    )


@pytest.mark.parametrize("spacing", [7, 64])
def test_an_extent_cuts_the_same_pixels_whatever_the_chunks(two_dates, spacing):
    _, url = two_dates
    whole = load(url)
    left, top = scenes.LEFT, scenes.TOP
    part = load(url, spatial=box(left + 96, top - 404, left + 304, top - 96), tile=spacing)
    assert part.shape == (2, 4, 30, 20)
    np.testing.assert_allclose(part.values, whole[:, :, 10:40, 10:30].values, atol=1e-6)


def test_an_extent_beyond_the_items_is_filled_with_no_data(two_dates):
    items, url = two_dates
    left, top = scenes.LEFT, scenes.TOP
    cube = load(url, ["B04"], box(left - 100, top - 700, left + 700, top + 100))
    assert cube.shape == (2, 1, 80, 80)
    np.testing.assert_array_equal(
        cube.values[1, 0, 10:70, 10:70], physical(stored(items[1], "B04"))
    )
    assert np.isnan(cube.values[:, :, :10]).all()
    assert np.isnan(cube.values[..., 70:]).all()


def test_extents_in_degrees_and_polygons(two_dates):
    items, url = two_dates
    west, south, east, north = items[0]["bbox"]
    half = {"west": west, "south": south, "east": (west + east) / 2, "north": north}
    cube = load(url, ["B04"], half)
    assert 28 <= cube.sizes["x"] <= 32
    assert cube.sizes["y"] >= 60
    triangle = {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [west, north], [west, south]]],
    }
    masked = load(url, ["B04"], {"type": "Feature", "properties": {}, "geometry": triangle})
    share = np.isfinite(masked.values[1, 0]).mean()
    assert 0.46 < share < 0.54
    inside = np.isfinite(masked.values[1])
    whole = load(url, ["B04"], half | {"east": east})
    np.testing.assert_array_equal(masked.values[1][inside], whole.values[1][inside])


def test_chunks_end_at_tiles_and_padding_only_adds(two_dates):
    _, url = two_dates
    cube = load(url, tile=16)
    first = TileGrid.of(cube, 16).window(cube)
    assert cube.chunksizes["x"][0] == 16 - first.pad_left
    assert set(cube.chunksizes["x"][1:-1]) == {16}
    padded = pad_to_tiles(cube, 16)
    assert padded.data.chunksize == (1, 4, 16, 16)
    np.testing.assert_array_equal(padded.sel(x=cube.x, y=cube.y).values, cube.values)


def test_time_is_left_closed_and_may_be_open(two_dates):
    _, url = two_dates

    def dates(*interval):
        return load(url, ["B04"], temporal=list(interval)).attrs["nc:items"]

    assert dates("2022-06-01", "2022-06-06") == ["early"]
    assert dates("2022-06-01T10:50:31Z", "2022-06-06T10:50:31Z") == ["early"]
    assert dates("2022-06-01T10:50:32Z", None) == ["late"]
    assert dates(None, "2022-06-02") == ["early"]
    with pytest.raises(NoDataAvailableError):
        dates("2023-01-01", "2024-01-01")


def test_properties_filter_items(two_dates):
    _, url = two_dates

    def graph(process_id, **arguments):
        node = {
            "process_id": process_id,
            "arguments": {"x": {"from_parameter": "value"}} | arguments,
        }
        return {"process_graph": {"only": node | {"result": True}}}

    def ids(**conditions):
        properties = {key.replace("__", ":"): value for key, value in conditions.items()}
        return load(url, ["B04"], properties=properties).attrs["nc:items"]

    assert ids(eo__cloud_cover=graph("lte", y=10)) == ["early"]
    assert ids(eo__cloud_cover=graph("between", min=20, max=90)) == ["late"]
    with pytest.raises(NoDataAvailableError):
        ids(platform=graph("eq", y="sentinel-2a"))
    with pytest.raises(InvalidParameterError, match="possible are"):
        ids(eo__cloud_cover=graph("sqrt"))


def test_two_utm_zones_need_a_crs_or_a_choice(folder, two_dates):
    east = scenes.granule(folder, "zone32", "2022-06-01T10:00:00Z", left=130_000, crs="EPSG:32632")
    path = scenes.write_items(folder / "zones.json", [two_dates[0][1], east])
    with pytest.raises(GridMismatchError, match=r"EPSG:32632 \(1 items\).*Give crs"):
        load(path, ["B04"])
    node = {"process_id": "eq", "arguments": {"x": {"from_parameter": "value"}, "y": "EPSG:32632"}}
    chosen = load(path, ["B04"], properties={"proj:code": {"process_graph": {"1": node}}})
    assert chosen.attrs["nc:items"] == ["zone32"]
    cube = load(path, ["B04"], crs=32631, mosaic="none")
    assert cube.rio.crs.to_epsg() == 32631
    assert cube.attrs["nc:resampling"] == "B04: bilinear"
    expected = warped(east, "B04", Resampling.bilinear, cube, 0.0001, -0.1)
    assert np.isfinite(expected).sum() > 3000
    np.testing.assert_allclose(cube.values[0, 0], expected, atol=2e-4)


def test_another_crs_and_resolution_are_resampled(two_dates):
    items, url = two_dates
    cube = load(url, ["B04", "SCL"], crs=3857, resolution=20)
    assert cube.rio.resolution() == (20, -20)
    expected = warped(items[1], "B04", Resampling.bilinear, cube, 0.0001, -0.1)
    np.testing.assert_allclose(cube.values[1, 0], expected, atol=1e-3)
    classes = cube.values[1, 1]
    assert set(np.unique(classes[np.isfinite(classes)])) <= set(range(1, 12))
    with pytest.raises(GridMismatchError, match="resolution must be given"):
        load(url, ["B04"], crs=3857)
    with pytest.raises(InvalidParameterError, match="above 0"):
        load(url, ["B04"], resolution=-10)


@pytest.mark.parametrize("crs", [999_999, "mars"])
def test_a_crs_that_is_none_is_a_typed_error(two_dates, crs):
    with pytest.raises(InvalidParameterError, match="no coordinate reference system"):
        load(two_dates[1], ["B04"], crs=crs, resolution=10)


@pytest.mark.parametrize(
    "wrong", [{"proj:transform": "x"}, {"proj:transform": [10]}, {"raster:scale": "x"}], ids=str
)
def test_metadata_that_are_none_are_a_typed_error(two_dates, folder, wrong):
    item = json.loads(json.dumps(two_dates[0][0]))
    item["assets"]["B04"] |= wrong
    path = scenes.write_items(folder / "wrong.json", [item])
    with pytest.raises(InvalidParameterError, match="asset 'B04' of item 'early'"):
        load(path, ["B04"])


def test_numbers_without_a_scale_stay_as_stored(folder):
    item = scenes.granule(folder, "stored", "2022-06-01T10:00:00Z")
    del item["assets"]["B04"]["raster:bands"][0]["scale"]
    del item["assets"]["B04"]["raster:bands"][0]["offset"]
    path = scenes.write_items(folder / "stored.json", [item])
    cube = load(path, ["B04"])
    assert "nc:scale" not in cube.attrs
    np.testing.assert_array_equal(cube.values[0, 0], stored(item, "B04").astype("float32"))
    other = scenes.granule(folder, "scaled", "2022-06-02T10:00:00Z")
    path = scenes.write_items(folder / "mixed.json", [item, other])
    with pytest.raises(InvalidValuesError, match="raster:scale for 'B04'"):
        load(path, ["B04"])


@pytest.mark.parametrize("where", ["asset", "band"])
def test_scale_and_nodata_of_stac_1_1(folder, where):
    item = scenes.granule(folder, f"new_{where}", "2022-06-01T10:00:00Z", edge=6)
    asset = item["assets"]["B04"]
    del asset["raster:bands"]
    stated = {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0}
    if where == "asset":
        asset |= stated
    else:
        asset["bands"] = [{"name": "B04", "eo:common_name": "red"} | stated]
    cube = load(scenes.write_items(folder / "new.json", [item]), ["B04"])
    np.testing.assert_array_equal(cube.values[0, 0], physical(stored(item, "B04")))


def test_an_offset_that_was_applied_is_not_applied_again(folder):
    applied = {"earthsearch:boa_offset_applied": True}
    item = scenes.granule(folder, "applied", "2022-06-01T10:00:00Z", **applied)
    cube = load(scenes.write_items(folder / "applied.json", [item]), ["B04"])
    np.testing.assert_array_equal(cube.values[0, 0], physical(stored(item, "B04"), offset=0))


def test_no_data_that_only_the_metadata_state(folder):
    values = scenes.numbers(1, 60, 60)
    values[:, :5] = 7
    for name, stated in (("file", None), ("stac", 7), ("none", None)):
        path = scenes.write_tif(
            folder / f"nodata_{name}.tif",
            values,
            scenes.LEFT,
            scenes.TOP,
            10,
            nodata=7 if name == "file" else None,
        )
        asset = scenes.asset(path, 10)
        asset["raster:bands"][0].pop("nodata")
        if stated is not None:
            asset["raster:bands"][0]["nodata"] = stated
        item = scenes.item(name, "2022-06-01T10:00:00Z", {"B04": asset})
        url = scenes.write_items(folder / f"nodata_{name}.json", [item])
        empty = np.isnan(load(url).values[0, 0])
        assert empty[:, :5].all() == (name != "none")
        assert not empty[:, 5:].any()
        coarse = np.isnan(
            load(
                url,
                spatial=box(scenes.LEFT - 40, scenes.TOP - 600, scenes.LEFT + 600, scenes.TOP),
                resolution=20,
            ).values[0, 0]
        )
        assert coarse[:, :2].all()
        assert coarse[:, 2:4].all() == (name != "none")
        assert not coarse[:, 5:].any()


def test_bands_of_one_file_are_found_by_name_and_common_name(folder):
    values = np.stack([scenes.numbers(i, 60, 60) for i in range(3)])
    path = scenes.write_tif(folder / "many.tif", values, scenes.LEFT, scenes.TOP, 10)
    asset = scenes.asset(path, 10)
    asset["raster:bands"] *= 3
    asset["eo:bands"] = [
        {"name": "B02", "common_name": "blue"},
        {"name": "B03"},
        {"name": "B04", "common_name": "red"},
    ]
    item = scenes.item("many", "2022-06-01T10:00:00Z", {"data": asset})
    url = scenes.write_items(folder / "many.json", [item])
    assert load(url).bands.values.tolist() == ["B02", "B03", "B04"]
    cube = load(url, ["red", "B02"])
    assert cube.bands.values.tolist() == ["red", "B02"]
    np.testing.assert_array_equal(cube.values[0], physical(values[[2, 0]]))
    np.testing.assert_allclose(
        load(url, ["B03"], resolution=20, resampling="average").values[0, 0],
        physical(values[1]).reshape(30, 2, 30, 2).mean((1, 3)), atol=1e-5,
    )  # fmt: skip
    with pytest.raises(InvalidParameterError, match="several bands"):
        load(url, ["data"])


def test_a_missing_asset_is_named_while_building(two_dates, folder):
    items, _ = two_dates
    lacking = json.loads(json.dumps(items[0]))
    del lacking["assets"]["B05"]
    path = scenes.write_items(folder / "lacking.json", [items[1], lacking])
    with pytest.raises(
        AssetMissingError, match=r"'early' has no asset or band 'B05'.*B04, B01, SCL"
    ):
        load(path, ["B04", "B05"])


def test_a_missing_file_is_named_while_computing(folder):
    item = scenes.granule(folder, "lost", "2022-06-01T10:00:00Z")
    Path(item["assets"]["B04"]["href"]).unlink()
    cube = load(scenes.write_items(folder / "lost.json", [item]), ["B04"])
    with pytest.raises(AssetMissingError, match="'B04' of item 'lost' cannot be read") as raised:
        cube.compute(scheduler="synchronous")
    assert raised.value.__context__ is None  # GDAL's errors do not travel from a worker
    assert isinstance(pickle.loads(pickle.dumps(raised.value)), AssetMissingError)


def test_empty_extents_are_typed_errors(two_dates):
    _, url = two_dates
    with pytest.raises(NoDataAvailableError, match="is empty"):
        load(url, spatial=box(1, 2, 1, 3))
    with pytest.raises(NoDataAvailableError, match="No item"):
        load(url, spatial={"west": 100, "south": 0, "east": 101, "north": 1})
    with pytest.raises(InvalidParameterError, match="smaller spatial_extent"):
        load(url, resolution=0.001)
    corner = box(scenes.LEFT + 601, scenes.TOP - 600, scenes.LEFT + 604, scenes.TOP)
    with pytest.raises(NoDataAvailableError, match="holds no pixel centre"):
        load(url, spatial=corner)


def test_building_reads_no_asset_and_computing_reads_each_once(two_dates, monkeypatch):
    _, url = two_dates
    opened, read = [], []
    real_open, real_read = reader.rasterio.open, reader.BandReader.read

    def open_(href, *args, **options):
        opened.append(href)
        return real_open(href, *args, **options)

    def read_(self, window, **options):
        read.append(self.source.asset.key)
        return real_read(self, window, **options)

    def raises_on_compute(*args, **kwargs):
        raise AssertionError("building a cube computed something")

    monkeypatch.setattr(reader.rasterio, "open", open_)
    monkeypatch.setattr(reader.BandReader, "read", read_)
    with dask.config.set(scheduler=raises_on_compute):
        cube = load(url, tile=40)
        pad_to_tiles(cube, 40)
        load(url, crs=3857, resolution=10)
    assert not opened
    assert not read
    cube.compute(scheduler="synchronous")
    tiles = len(cube.chunksizes["x"]) * len(cube.chunksizes["y"])
    assert len(read) == len(opened) == 2 * tiles * 4


def test_a_graph_is_small_named_by_its_content_and_travels(two_dates):
    _, url = two_dates
    cube = load(url)
    assert load(url).data.name == cube.data.name
    assert load(url, ["B04"]).data.name != cube.data.name
    assert len(cube.__dask_graph__()) <= 3 * cube.data.npartitions
    data = pickle.dumps(cube)
    assert len(data) < 30_000
    np.testing.assert_array_equal(pickle.loads(data).values, cube.values)
