"""Process graphs from a STAC catalogue to files and back, with rasterio's reads as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import stac_scenes as scenes
from openeo_pg_parser_networkx import OpenEOProcessGraph

from openeo_nc import errors
from openeo_nc.graphs import execute
from openeo_nc.graphs.run import run_graph

BANDS = ["B02", "B03", "B04"]
SIZE = 60
DAYS = ("2022-06-01T10:30:00Z", "2022-06-06T10:30:00Z")


@pytest.fixture
def catalogue(tmp_path):
    """A collection of two dates, three bands at 10 m; the first date lacks 7 columns."""
    items = []
    for number, day in enumerate(DAYS):
        assets = {}
        for index, band in enumerate(BANDS):
            values = scenes.numbers(10 * number + index, SIZE, SIZE)
            values[:, : 7 if number == 0 else 0] = 0
            path = tmp_path / "scenes" / f"date{number}" / f"{band}.tif"
            scenes.write_tif(path, values, scenes.LEFT, scenes.TOP, 10)
            assets[band] = scenes.asset(path, 10, shape=(SIZE, SIZE))
        items.append(scenes.item(f"date{number}", day, assets))
    return scenes.write_collection(tmp_path / "scenes", items)


def reflectance(catalogue, date):
    """`(bands, y, x)` of a date as rasterio reads the files; NaN where there is no data."""
    stack = []
    for band in BANDS:
        with rasterio.open(catalogue.parent / f"date{date}" / f"{band}.tif") as file:
            dn = file.read(1)
        stack.append(np.where(dn == 0, np.nan, dn * 0.0001 - 0.1))
    return np.stack(stack)


def load(url, **arguments):
    return {"process_id": "load_stac", "arguments": {"url": str(url), **arguments}}


def step(process_id, source, **arguments):
    return {"process_id": process_id, "arguments": {"data": {"from_node": source}, **arguments}}


def result(node):
    return {**node, "result": True}


def test_from_stac_to_a_store_and_from_the_store_to_an_index(registry, codecs, catalogue, tmp_path):
    compress = {
        "load": load(catalogue, bands=BANDS),
        "small": step("compress_cube", "load"),
        "save": result(step("save_result", "small", format="ZARR")),
    }
    (store,) = run_graph(compress, tmp_path / "one", registry=registry)
    assert store["report"]["codec"] == "fake-rgb"
    assert store["report"]["tiles"] == codecs.calls["pack"]
    again = {
        "load": load(f"{store['path']}/item.json", bands=["B03", "B04"]),
        "ndvi": step("ndvi", "load", nir="B03", red="B04"),
        "save": result(step("save_result", "ndvi", format="GTIFF")),
    }
    (index,) = run_graph(again, tmp_path / "two", registry=registry)
    for date, path in enumerate(index["files"]):
        with rasterio.open(path) as file:
            found = file.read(1)
            assert file.crs.to_epsg() == 32631
            assert tuple(file.transform)[:6] == (10, 0, scenes.LEFT, 0, -10, scenes.TOP)
        _, nir, red = reflectance(catalogue, date)
        expected = (nir - red) / (nir + red)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        # half a DN of error in each of two bands
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_embeddings_are_saved_loaded_filtered_and_decoded(registry, codecs, catalogue, tmp_path):
    encode = {
        "load": load(catalogue, bands=BANDS),
        "encode": step("encode_embedding", "load", model="fake-rgb"),
        "save": result(step("save_result", "encode", format="ZARR")),
    }
    (store,) = run_graph(encode, tmp_path / "one", registry=registry)
    packed = codecs.calls["pack"]
    assert store["report"]["view"] == "latents"
    assert store["report"]["tiles"] == packed
    loaded = load(f"{store['path']}/item.json")
    decode = {
        "load": loaded,
        "day": step("filter_temporal", "load", extent=["2022-06-05", "2022-06-30"]),
        "decode": result(step("decode_embedding", "day", bands=["B04", "B02"])),
    }
    decoded = execute(decode, registry=registry)
    assert decoded.dims == ("t", "bands", "y", "x")
    assert decoded.shape == (1, 2, SIZE, SIZE)
    expected = reflectance(catalogue, 1)[[2, 0]]
    np.testing.assert_allclose(decoded.values[0], expected, atol=0.6e-4)
    assert codecs.calls["pack"] == packed

    changed = {
        "load": loaded,
        "mean": step(
            "apply",
            "load",
            process={
                "process_graph": {
                    "x": {
                        "process_id": "multiply",
                        "arguments": {"x": {"from_parameter": "x"}, "y": 0.75},
                        "result": True,
                    }
                }
            },
        ),
        "decode": result(step("decode_embedding", "mean")),
    }
    with pytest.raises(errors.EmbeddingChangedError):
        execute(changed, registry=registry).compute()


def test_an_embedding_reduced_to_an_index_is_an_ordinary_cube(
    registry, codecs, catalogue, tmp_path
):
    norm = {
        "process_graph": {
            "m": {
                "process_id": "max",
                "arguments": {"data": {"from_parameter": "data"}},
                "result": True,
            }
        }
    }
    graph = {
        "load": load(catalogue, bands=BANDS),
        "encode": step("encode_embedding", "load", model="auto"),
        "max": step("reduce_dimension", "encode", dimension="embedding", reducer=norm),
        "save": result(step("save_result", "max", format="NETCDF")),
    }
    (saved,) = run_graph(graph, tmp_path / "out", registry=registry)
    import xarray as xr

    with xr.open_dataset(saved["path"], engine="netcdf4", decode_coords="all") as dataset:
        (name,) = dataset.data_vars
        found = dataset[name]
        assert found.dims == ("t", "y", "x")
        assert found.rio.resolution() == (40.0, -40.0)
        brightest = np.nanmax(reflectance(catalogue, 1))
        assert float(found[1].max()) == pytest.approx(brightest * 10_000, abs=1)


def test_the_parser_itself_loads_what_extents_and_filters_ask_for(registry, catalogue):
    """It makes objects of boxes, intervals and references, which our functions never see."""
    late = {"process_id": "eq", "arguments": {"x": {"from_parameter": "value"}, "y": DAYS[1]}}
    box = {"west": scenes.LEFT, "east": scenes.LEFT + 200, "north": scenes.TOP}
    graph = {
        "load": result(
            load(
                catalogue,
                bands=["B04"],
                spatial_extent=box | {"south": scenes.TOP - 300, "crs": 32631},
                temporal_extent=["2022-06-01", None],
                properties={"datetime": {"process_graph": {"only": result(late)}}},
            )
        )
    }
    for found in (
        execute(graph, registry=registry),
        OpenEOProcessGraph(graph).to_callable(registry)(),
    ):
        assert found.attrs["nc:items"] == ["date1"]
        expected = reflectance(catalogue, 1)[2:, :30, :20]
        np.testing.assert_allclose(found.values[0], expected, atol=1e-6)


def test_embeddings_are_a_cube_to_the_processes_of_others(registry, codecs, catalogue):
    """openeo-processes-dask finds the dimension `embedding` to be that of type bands."""
    bright = {
        "process_graph": {
            "x": {
                "process_id": "gt",
                "arguments": {"x": {"from_parameter": "x"}, "y": 1500},
                "result": True,
            }
        }
    }
    graph = {
        "load": load(catalogue, bands=BANDS),
        "encode": step("encode_embedding", "load", model="fake-rgb"),
        "one": step("filter_bands", "encode", bands=["e005"]),
        "two": step("filter_bands", "encode", bands=["e001"]),
        "both": {
            "process_id": "merge_cubes",
            "arguments": {"cube1": {"from_node": "one"}, "cube2": {"from_node": "two"}},
        },
        "first": step(
            "reduce_dimension",
            "encode",
            dimension="embedding",
            reducer={
                "process_graph": {
                    "e": {
                        "process_id": "array_element",
                        "arguments": {"data": {"from_parameter": "data"}, "label": "e005"},
                        "result": True,
                    }
                }
            },
        ),
        "bright": step("apply", "first", process=bright),
        "mask": result(step("mask", "both", mask={"from_node": "bright"})),
    }
    encoded = execute({"load": graph["load"], "e": result(graph["encode"])}, registry=registry)
    expected = encoded.sel(embedding=["e005", "e001"])
    expected = expected.where(~(encoded.sel(embedding="e005") > 1500)).values
    assert np.isnan(encoded).mean() + 0.1 < np.isnan(expected).mean() < 0.9
    for found in (
        execute(graph, registry=registry),
        OpenEOProcessGraph(graph).to_callable(registry)(),  # the parser itself, as in openeo.local
    ):
        assert found.embedding.values.tolist() == ["e005", "e001"]
        np.testing.assert_array_equal(found.transpose(*encoded.dims).values, expected)


def test_a_bound_in_reflectance_holds_in_every_file_that_is_saved(
    registry, codecs, catalogue, tmp_path
):
    import xarray as xr

    bounds = [0.004, 0.001, 0.0002]
    graph = {
        "load": load(catalogue, bands=BANDS),
        "small": step("compress_cube", "load", codec="fake-rgb", max_error=bounds),
        "store": step("save_result", "small", format="ZARR"),
        "save": result(step("save_result", "small", format="GTIFF")),
    }
    store, tiffs = run_graph(graph, tmp_path / "out", registry=registry)
    assert store["report"]["rate"] == {"max_error": bounds}
    assert store["report"]["bound_held"] is True
    plain = xr.open_zarr(store["path"])["data"]
    again = execute({"load": result(load(f"{store['path']}/item.json"))}, registry=registry)
    inside = plain.sel(x=again.x, y=again.y)
    for date, path in enumerate(tiffs["files"]):
        expected = reflectance(catalogue, date)
        with rasterio.open(path) as file:
            found = file.read()
        for saved in (found, inside[date].values, again[date].values):
            np.testing.assert_array_equal(np.isnan(saved), np.isnan(expected))
            # rasterio's reads are float64, the cube's numbers float32
            error = np.nanmax(np.abs(saved - expected.astype(np.float32)), axis=(1, 2))
            assert (error <= bounds).all()


def test_a_bound_that_conversion_breaks_names_tile_and_way_out(registry, codecs, catalogue):
    graph = {
        "load": load(catalogue, bands=BANDS),
        "small": result(step("compress_cube", "load", codec="fake-rgb", max_error=1e-9)),
    }
    with pytest.raises(errors.InvalidParameterError, match=r"date \d, row.*klt-dct"):
        execute(graph, registry=registry).compute()
    with pytest.raises(errors.InvalidParameterError, match=r"small.*max_error.*minimum"):
        graph["small"]["arguments"]["max_error"] = -1
        execute(graph, registry=registry)
