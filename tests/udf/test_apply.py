"""UDFs on cubes: dimensions and labels restored, every style of function, every process around."""

from __future__ import annotations

import dask
import embedding_cubes
import fakes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.errors import InvalidParameterError, UDFFailedError
from openeo_nc.graphs import execute
from openeo_nc.processes.run_udf import run_udf
from openeo_nc.udf import pool

NDVI = """
import xarray as xr

def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    red, nir = cube.sel(bands="B04"), cube.sel(bands="B08")
    return ((nir - red) / (nir + red)).expand_dims(bands=["ndvi"])
"""
TIMES = """
def apply_datacube(cube, context):
    return cube * context["factor"]
"""


def run(cube, code, **context):
    return run_udf(cube, code, "Python", None, context)


def ndvi(cube):
    red, nir = cube.sel(bands="B04", drop=True), cube.sel(bands="B08", drop=True)
    return (nir - red) / (nir + red)


@pytest.mark.parametrize(
    "dims", [("t", "bands", "y", "x"), ("x", "t", "y", "bands"), ("bands", "x", "y", "t")]
)
def test_dimensions_and_labels_are_restored(within, cube, dims):
    given = cube.transpose(*dims)
    found = run(given, NDVI)
    assert set(found.dims) == set(dims)
    assert found.dtype == np.float32
    assert found.bands.values.tolist() == ["ndvi"]
    for name in ("t", "y", "x"):
        xr.testing.assert_identical(found[name].drop_vars(set(found[name].coords) - {name}),
                                    cube[name].drop_vars(set(cube[name].coords) - {name}))  # fmt: skip
    assert found.rio.crs == cube.rio.crs
    expected = ndvi(given.compute())
    np.testing.assert_array_equal(
        found.compute().isel(bands=0, drop=True).transpose(*expected.dims), expected
    )


def test_what_comes_out_does_not_say_that_it_is_an_embedding(within):
    code = "def apply_datacube(cube, context):\n    return cube.isel(embedding=[0, 1])"
    found = run(embedding_cubes.cube(), code)
    assert found.sizes["embedding"] == 2
    assert not {"emb:type", "emb:dimensions", "nc:model"} & set(found.attrs)


def test_code_that_shuffles_dimensions_changes_nothing_else(within, cube):
    code = (
        "def apply_datacube(cube, context):\n    return cube.transpose('x', 'bands', 't', 'y') + 1"
    )
    found = run(cube, code)
    xr.testing.assert_equal(found.compute(), cube.compute() + 1)
    assert found.dims == cube.dims


def test_building_computes_nothing_and_chunks_come_with_their_labels(within, cube):
    code = "def apply_datacube(cube, context):\n    return cube * 0 + cube.x + 3 * cube.y"
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = run(cube, code)
    np.testing.assert_array_equal(found.compute(), cube * 0 + cube.x + 3 * cube.y)


def test_a_chunk_has_all_dates(within, cube):
    code = "def apply_datacube(cube, context):\n    return cube.mean('t')"
    found = run(cube, code)
    assert found.dims == ("bands", "y", "x")
    np.testing.assert_allclose(found.compute(), cube.mean("t").compute(), rtol=1e-6)


@pytest.mark.parametrize(
    "code",
    [
        (
            "from openeo.udf import XarrayDataCube\n"
            "def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
            "    return XarrayDataCube(cube.get_array() * 2)"
        ),
        (
            "from openeo.udf import UdfData, XarrayDataCube\n"
            "def transform(data: UdfData):\n"
            "    data.set_datacube_list([XarrayDataCube(c.array * 2) for c in data.datacube_list])"
        ),
        (
            "def apply_udf_data(data):\n"
            "    assert data.proj == {'EPSG': 32633}\n"
            "    data.datacube_list = [XarrayDataCube(data.datacube_list[0].array * 2)]\n"
            "    return data"
        ),
        (
            "def apply_timeseries(series: pd.Series, context: dict) -> pd.Series:\n"
            "    assert series.index[0] == pd.Timestamp('2024-05-01')\n    return series * 2"
        ),
        "def apply_datacube(cube):\n    return cube.values * 2",
        (
            "def apply_hypercube(cube, context):\n    assert cube.attrs['crs'] == 'EPSG:32633'\n"
            "    return cube * 2"
        ),
    ],
    ids=["wrapped", "annotated", "data", "timeseries", "array", "hypercube"],
)
def test_styles_of_functions(within, cube, code):
    xr.testing.assert_equal(run(cube, code).compute(), (cube * 2).compute())


def test_metadata_name_bands(within, cube):
    code = (
        "def apply_metadata(metadata, context):\n"
        "    return metadata.rename_labels('bands', target=context['names'])\n"
        "def apply_datacube(cube, context):\n    return cube"
    )
    assert run(cube, code, names=["a", "b"]).bands.values.tolist() == ["a", "b"]


def test_dtypes_are_those_of_the_trial(within, cube):
    found = run(cube, "def apply_datacube(cube, context):\n    return (cube > 0.5).astype('uint8')")
    assert found.dtype == found.compute().dtype == np.uint8
    code = (
        "def apply_datacube(cube, context):\n"
        "    return cube.astype('uint8') if cube.sizes['x'] < 9 else cube"
    )
    with pytest.raises(UDFFailedError, match="float32 for a chunk and uint8 in the trial"):
        run(cube, code).compute()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def apply_datacube(cube, context):\n    return cube.mean('x')", "dimension 'x'"),
        ("def apply_datacube(cube, context):\n    return cube.isel(y=slice(2))", "dimension 'y'"),
        ("def apply_datacube(cube, context):\n    return 5", "object of the type int"),
        ("def apply_datacube(cube, context):\n    return cube.astype(str)", "not numbers"),
        ("def other(cube):\n    return cube", "none of the functions apply_datacube"),
        ("def apply_vectorcube(geometries, cube, context):\n    return cube", "no vector cubes"),
        ("def apply_datacube(cube, context)\n    return cube", "SyntaxError(.|\n)*line 1: def"),
        ("def apply_datacube(cube, context):\n    return 1 / 0",
         "ZeroDivisionError: division by zero\nline 2, in apply_datacube: return 1 / 0$"),
        ("def apply_datacube(cube, context):\n    raise SystemExit(3)", "SystemExit: 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(within, cube, code, message):
    with pytest.raises(UDFFailedError, match=message) as failed:
        run(cube, code)
    assert failed.value.code == "UDFFailed"
    assert "site-packages" not in failed.value.message


def test_code_that_needs_whole_chunks_is_tried_on_them(within, cube):
    code = (
        "def apply_datacube(cube, context):\n"
        "    assert cube.shape[2:] in ((10, 16), (10, 14)), cube.shape\n    return cube"
    )
    xr.testing.assert_equal(run(cube, code).compute(), cube.compute())


def test_only_cubes_and_arrays(within):
    with pytest.raises(InvalidParameterError, match="given was list"):
        run_udf([1], TIMES, "Python")


def in_graph(process_id, cube, name, code, **arguments):
    udf = {"process_id": "run_udf", "result": True, "arguments": {
        "data": {"from_parameter": "x" if process_id == "apply" else "data"},
        "udf": code, "runtime": "python", "context": {"from_parameter": "context"}}}  # fmt: skip
    graph = {"one": {"process_id": process_id, "result": True, "arguments": {
        "data": {"from_parameter": "cube"}, name: {"process_graph": {"udf": udf}},
        "context": {"factor": 3}, **arguments}}}  # fmt: skip
    document = {"process_graph": graph, "parameters": [{"name": "cube", "schema": {}}]}
    return execute(document, parameters={"cube": cube})


def test_in_apply(within, cube):
    found = in_graph("apply", cube, "process", TIMES)
    xr.testing.assert_equal(found.compute(), (3 * cube).compute())
    assert found.chunks == cube.chunks
    code = "def apply_datacube(cube, context):\n    assert cube.sizes['t'] == 1\n    return cube + cube.x"
    np.testing.assert_array_equal(in_graph("apply", cube, "process", code), cube + cube.x)
    with pytest.raises(UDFFailedError, match="'bands'"):
        in_graph(
            "apply", cube, "process", "def apply_datacube(cube):\n    return cube.sum('bands')"
        )


@pytest.mark.parametrize("keep", [".mean('t')", ".mean('t', keepdims=True)"])
def test_in_reduce_dimension(within, cube, keep):
    code = f"def apply_datacube(cube, context):\n    return cube{keep}"
    found = in_graph("reduce_dimension", cube, "reducer", code, dimension="t")
    assert found.dims == ("bands", "y", "x")
    np.testing.assert_allclose(found.compute(), cube.mean("t").compute(), rtol=1e-6)


def test_in_apply_dimension(within, cube):
    code = "def apply_datacube(cube, context):\n    return cube.cumsum('t')"
    found = in_graph("apply_dimension", cube, "process", code, dimension="t")
    np.testing.assert_allclose(found.compute(), cube.cumsum("t").compute(), rtol=1e-6)
    code = "def apply_datacube(cube, context):\n    return cube.isel(bands=[0, 1, 0])"
    found = in_graph("apply_dimension", cube, "process", code, dimension="bands")
    assert found.shape == (3, 3, 20, 30)


def test_in_apply_neighborhood(within, cube):
    code = (
        "import scipy.ndimage\n"
        "def apply_datacube(cube, context):\n"
        "    if cube.sizes['x'] > 8: assert cube.sizes['x'] == 16 and cube.sizes['bands'] == 2\n"
        "    return cube.copy(data=scipy.ndimage.correlate(cube.values, np.ones((1, 1, 3, 3))))"
    )
    found = in_graph(
        "apply_neighborhood", cube, "process", code,
        size=[{"dimension": "x", "value": 10, "unit": "px"}],
        overlap=[{"dimension": "x", "value": 3, "unit": "px"}],
    )  # fmt: skip
    import scipy.ndimage

    inner = (slice(None), slice(None), slice(1, -1), slice(4, -4))
    expected = scipy.ndimage.correlate(cube.values, np.ones((1, 1, 3, 3)))
    np.testing.assert_allclose(found.values[inner], expected[inner], rtol=1e-5)


def test_one_sandbox_serves_a_session(within, cube):
    run(cube, TIMES, factor=2).compute()
    first = pool.running()[within.session]
    run(cube, NDVI).compute()
    assert pool.running()[within.session] == first


def test_large_chunks_are_cut_on_the_ground_only(within, cube, monkeypatch):
    from openeo_nc.udf import apply

    monkeypatch.setattr(apply, "BLOCK_BYTES", 3 * 2 * 6 * 8 * 4)
    found = run(cube, TIMES, factor=2)
    assert found.chunksizes["t"] == (3,)
    assert max(found.chunksizes["y"]) * max(found.chunksizes["x"]) <= 48
    xr.testing.assert_equal(found.compute(), (2 * cube).compute())
