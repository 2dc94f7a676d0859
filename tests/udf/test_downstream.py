"""The models of `udfs/`: through run_udf, alone with NumPy and xarray, and against oracles."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import dask
import fakes
import numpy as np
import openeo
import openeo.internal.graph_building
import openeo.udf
import pandas as pd
import pytest
import xarray as xr
from openeo.metadata import CubeMetadata, Dimension

from openeo_nc.errors import UDFFailedError
from openeo_nc.graphs import execute
from openeo_nc.resources import udfs
from openeo_nc.sentinel2 import BANDS

DATES = pd.date_range("2024-05-01", periods=3).astype("datetime64[ns]")
CROPS = ("barley", "maize", "potatoes", "soy", "sugarbeet")
LIBRARIES = ("numpy", "xarray", "pandas", "packaging", "dateutil", "pytz", "six", "tzdata")
"""What NumPy and xarray need to be there."""
ALONE = """
import sys
sys.path.append(sys.argv[1])
import numpy as np
import xarray as xr

given = dict(np.load(sys.argv[3]))
dims = given["dims"].tolist()
coords = {"bands": given["bands"]} if "bands" in dims else {}
code = {}
exec(open(sys.argv[2]).read(), code)
found = code["apply_datacube"](xr.DataArray(given["values"], dims=dims, coords=coords), {})
labels = found["bands" if "bands" in found.dims else "embedding"].values
np.savez(sys.argv[4], values=found.values, dims=found.dims, labels=labels)
"""


def code(name):
    return (udfs() / f"{name}.py").read_text()


def function(name):
    found = {}
    exec(code(name), found)  # noqa: S102  as backends do
    return found["apply_datacube"]


def laid(values, dims, **labels):
    coords = {"y": 5_000_000.0 - 80 * np.arange(values.shape[dims.index("y")]),
              "x": 500_000.0 + 80 * np.arange(values.shape[dims.index("x")])}  # fmt: skip
    made = xr.DataArray(values, dims=dims, coords=coords | labels)
    return made.rio.write_crs(32633)


@pytest.fixture
def vectors():
    """Embeddings `(t, embedding, y, x)` without those of a patch at the second date."""
    values = np.random.default_rng(3).normal(0, 1.6, (3, 64, 9, 11)).astype(np.float32)
    values[1, :, 4, 5] = np.nan
    return laid(values, ("t", "embedding", "y", "x"), t=DATES, embedding=np.arange(64))


@pytest.fixture
def year():
    """A year's reflectance `(t, bands, y, x)` every ten days, with a gap in a pixel."""
    rng = np.random.default_rng(4)
    values = rng.uniform(200, 5000, (36, 8, 4, 5)).astype(np.float32)
    values[7, :, 1, 2] = np.nan
    t = pd.date_range("2019-01-01", periods=36, freq="10D").astype("datetime64[ns]")
    bands = ["B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12"]
    return laid(values, ("t", "bands", "y", "x"), t=t, bands=bands)


@pytest.fixture
def sea():
    """Reflectance `(bands, y, x)`: calm sea, a ship of 3 x 2 pixels, a coast, and no data in a corner."""
    rng = np.random.default_rng(5)
    green, nir = rng.normal(300, 10, (60, 60)), rng.normal(60, 8, (60, 60))
    nir[30:33, 20:22] = 1500
    green[:, 45:], nir[:, 45:] = 600, 3000
    values = np.stack([green, nir]).astype(np.float32)
    values[:, :4, :4] = np.nan
    return laid(values, ("bands", "y", "x"), bands=["B03", "B08"])


OF_VECTORS = {
    "land_cover": ["water", "trees", "crops", "built area", "rangeland"],
    "water": ["water"],
    "cloud": ["cloud"],
    "change": ["change"],
    "anomaly": ["anomaly"],
}


def in_graph(name, cube, context=None):
    arguments = {"data": {"from_parameter": "cube"}, "udf": code(name), "runtime": "Python",
                 "context": context or {}}  # fmt: skip
    graph = {"one": {"process_id": "run_udf", "arguments": arguments, "result": True}}
    document = {"process_graph": graph, "parameters": [{"name": "cube", "schema": {}}]}
    return execute(document, parameters={"cube": cube})


@pytest.mark.parametrize("name", OF_VECTORS)
def test_vectors_become_labels_in_a_process_graph(within, vectors, name):
    with dask.config.set(scheduler=fakes.raising_scheduler):
        found = in_graph(name, vectors.chunk({"t": 1}))
    assert found.dims == vectors.dims
    assert found.embedding.values.tolist() == OF_VECTORS[name]
    assert found.dtype == np.float32
    values = found.compute()
    for dim in ("t", "y", "x"):
        np.testing.assert_array_equal(values[dim], vectors[dim])
    assert found.rio.crs == vectors.rio.crs
    missing = np.isnan(values.values).any(1)
    expected = np.isnan(vectors.values).any(1)
    if name == "change":  # the date after a gap has nothing to compare with
        expected[2] |= expected[1]
    np.testing.assert_array_equal(missing, expected)
    np.testing.assert_allclose(values, function(name)(vectors, {}), rtol=1e-4, atol=1e-6)


def test_openeo_s_client_applies_a_file_along_the_dimension_of_vectors(within, vectors):
    """As docs/udfs.md shows it: vectors become bands."""
    udf = openeo.UDF.from_file(udfs() / "land_cover.py", context={"output": "class"})
    named = [Dimension(name=name, type="other") for name in vectors.dims]
    source = openeo.internal.graph_building.PGNode("load_named")
    cube = openeo.DataCube(source, connection=None, metadata=CubeMetadata(named))
    made = cube.apply_dimension(udf, dimension="embedding", target_dimension="bands")
    (node,) = (n for n in made.flat_graph().values() if n["process_id"] == "apply_dimension")
    node["arguments"]["data"] = {"from_parameter": "cube"}
    document = {"process_graph": {"one": node | {"result": True}},
                "parameters": [{"name": "cube", "schema": {}}]}  # fmt: skip
    found = execute(document, parameters={"cube": vectors}).compute()
    assert found.sizes == {"t": 3, "bands": 1, "y": 9, "x": 11} or set(found.dims) == {
        "t",
        "y",
        "x",
    }
    direct = function("land_cover")(vectors, {"output": "class"})
    np.testing.assert_array_equal(found.values.ravel(), direct.values.ravel())


def test_a_series_becomes_crops_in_a_process_graph(within, year):
    found = in_graph("crop_type", year.chunk({"t": 6})).compute()
    assert found.dims == ("bands", "y", "x")
    assert tuple(found.bands.values) == CROPS
    assert np.isnan(found[:, 1, 2]).all()
    np.testing.assert_allclose(found.sum("bands").values[0], 1, rtol=1e-4, atol=1e-6)
    best = in_graph("crop_type", year, {"output": "class"}).compute()
    np.testing.assert_array_equal(best[0, 0], found[:, 0].argmax("bands"))


def test_ships_are_candidates_and_coasts_are_not(within, sea):
    found = in_graph("vessels", sea).compute()
    candidate = found.sel(bands="candidate").values
    inside = np.zeros((60, 60), bool)
    inside[30:33, 20:22] = True
    np.testing.assert_array_equal(candidate == 1, inside)
    assert np.isnan(candidate[:4, :4]).all()
    assert np.isfinite(candidate[4:]).all()


def test_ships_with_an_overlap_of_chunks(within, sea):
    """Windows with borders give what the whole image gives, where the windows are."""
    udf = {"process_id": "run_udf", "result": True,
           "arguments": {"data": {"from_parameter": "data"}, "udf": code("vessels"),
                         "runtime": "Python", "context": {"from_parameter": "context"}}}  # fmt: skip
    size = [{"dimension": name, "value": 20, "unit": "px"} for name in ("x", "y")]
    overlap = [{"dimension": name, "value": 20, "unit": "px"} for name in ("x", "y")]
    graph = {"one": {"process_id": "apply_neighborhood", "result": True, "arguments": {
        "data": {"from_parameter": "cube"}, "process": {"process_graph": {"udf": udf}},
        "size": size, "overlap": overlap, "context": {}}}}  # fmt: skip
    document = {"process_graph": graph, "parameters": [{"name": "cube", "schema": {}}]}
    found = execute(document, parameters={"cube": sea}).compute().transpose("bands", "y", "x")
    whole = function("vessels")(sea, {})
    np.testing.assert_array_equal(found.values[0] == 1, whole.values[0] == 1)


def test_ships_in_radar_images():
    rng = np.random.default_rng(6)
    power = rng.normal(-20, 0.8, (60, 60))
    power[40, 30:32] = -4
    power[:, :10] = -8
    cube = laid(power[None].astype(np.float32), ("bands", "y", "x"), bands=["VV"])
    found = function("vessels")(cube, {"output": "candidate"})
    assert found.bands.values.tolist() == ["candidate"]
    assert np.argwhere(found.values[0] == 1).tolist() == [[40, 30], [40, 31]]


def test_land_cover_is_a_linear_head(vectors):
    weight = np.random.default_rng(0).normal(size=(2, 64)) / 8
    head = {"labels": ["a", "b"], "codes": [7, 9], "weight": weight.tolist(), "bias": [0.1, -0.2]}
    found = function("land_cover")(vectors, {"weights": head})
    a, b = (
        sum(w * v for w, v in zip(row, vectors.values[0, :, 2, 3], strict=True)) for row in weight
    )
    share = 1 / (1 + np.exp(b - 0.2 - a - 0.1))
    np.testing.assert_allclose(
        found.sel(embedding="a").values[0, 2, 3], share, rtol=1e-4, atol=1e-6
    )
    best = function("land_cover")(vectors, {"weights": head, "output": "class"})
    assert best.values[0, 0, 2, 3] == (7 if share > 0.5 else 9)
    assert np.isnan(best.values[1, 0, 4, 5])


def test_a_flood_is_water_that_the_reference_lacks(within, vectors):
    water = function("water")(vectors, {}).sel(embedding="water")
    found = in_graph("water", vectors, {"reference": "first"}).compute()
    assert found.embedding.values.tolist() == ["water", "flood"]
    flood = found.sel(embedding="flood")
    np.testing.assert_allclose(flood, water * (1 - water.isel(t=0, drop=True)), atol=1e-6)
    driest = function("water")(vectors, {"reference": "driest"}).sel(embedding="flood")
    np.testing.assert_allclose(driest, water * (1 - water.min("t")), atol=1e-6)
    mask = function("water")(vectors, {"reference": "first", "threshold": 0.5})
    assert set(np.unique(mask.values[np.isfinite(mask.values)])) <= {0, 1}
    assert np.isnan(mask.values[1, :, 4, 5]).all()


@pytest.mark.parametrize("name", ["cloud", "change", "anomaly"])
def test_thresholds_make_masks(vectors, name):
    soft = function(name)(vectors, {})
    level = float(np.nanmedian(soft))
    mask = function(name)(vectors, {"threshold": level})
    known = np.isfinite(soft.values)
    np.testing.assert_array_equal(mask.values[known], soft.values[known] >= np.float32(level))
    assert np.isnan(mask.values[~known]).all()


def test_change_is_the_length_of_a_difference(vectors):
    call, weights = function("change"), {"weights": {"dim": 64, "usual": 5.0}}
    v = vectors.values.astype(float)[:, :, 1, 1]
    previous = call(vectors, weights).values[:, 0]
    assert (previous[0] == 0).all()
    np.testing.assert_allclose(
        previous[2, 1, 1], np.sqrt(((v[2] - v[1]) ** 2).sum()) / 5, rtol=1e-4, atol=1e-6
    )
    first = call(vectors, weights | {"reference": "first"}).values[:, 0]
    np.testing.assert_allclose(
        first[2, 1, 1], np.sqrt(((v[2] - v[0]) ** 2).sum()) / 5, rtol=1e-4, atol=1e-6
    )
    median = call(vectors, weights | {"reference": "median"}).values[:, 0]
    expected = np.sqrt(((v[2] - np.median(v, 0)) ** 2).sum()) / 5
    np.testing.assert_allclose(median[2, 1, 1], expected, rtol=1e-4, atol=1e-6)


def test_anomaly_is_the_distance_from_the_image_s_mean(vectors):
    from scipy.spatial.distance import mahalanobis

    found = function("anomaly")(vectors, {"prior": 50, "weights": {"scatter": np.eye(64).tolist()}})
    image = vectors.values[2].reshape(64, -1).T.astype(float)
    scatter = (np.cov(image.T, bias=True) * len(image) + 50 * np.eye(64)) / (len(image) + 50)
    inverse = np.linalg.inv(scatter)
    expected = [mahalanobis(one, image.mean(0), inverse) / 8 for one in image]
    np.testing.assert_allclose(found.values[2, 0].ravel(), expected, rtol=1e-4)


def test_a_series_becomes_the_table_s_features(year):
    """A head that shows one feature at a time, against NumPy."""
    names = json.loads(code("crop_type").split('"""')[3])["features"]
    pixel = year.values[:, :, 3, 3].astype(float)
    bands = dict(zip(year.bands.values.tolist(), pixel.T, strict=True))
    ndvi = (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"]) * 250
    ndre5 = ((bands["B07"] - bands["B05"]) / (bands["B07"] + bands["B05"]) + 1) * 125
    expected = {"NDVI_p10": np.percentile(ndvi, 10), "NDVI_sd": ndvi.std(), "NDVI_t18": ndvi[18],
                "NDRE5_p90": np.percentile(ndre5, 90), "NDRE5_t30": ndre5[30],
                "B12_p50": np.median(bands["B12"]) / 32}  # fmt: skip
    for name, value in expected.items():
        row = (np.array(names) == name) / 100.0
        head = {"features": names, "labels": ["a", "b"], "weight": [row.tolist(), [0.0] * 80],
                "bias": [0.0, value / 100]}  # fmt: skip
        found = function("crop_type")(year, {"weights": head})
        np.testing.assert_allclose(found.values[0, 3, 3], 0.5, atol=1e-4, err_msg=name)


def test_features_are_taken_as_bands():
    names = json.loads(code("crop_type").split('"""')[3])["features"]
    values = np.random.default_rng(0).uniform(0, 250, (80, 2, 3)).astype(np.float32)
    cube = laid(values, ("bands", "y", "x"), bands=names)
    shuffled = cube.isel(bands=np.random.default_rng(1).permutation(80))
    one, other = (function("crop_type")(each, {}) for each in (cube, shuffled))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A folder of packages that has NumPy and xarray, and what these need, and nothing else."""
    folder = tmp_path_factory.mktemp("libraries")
    for path in Path(np.__file__).parents[1].iterdir():
        if re.split(r"[-.]", path.name)[0] in LIBRARIES:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("name", [*OF_VECTORS, "crop_type", "vessels"])
def test_without_any_other_library(tmp_path, libraries, vectors, year, sea, name):
    cube = {"crop_type": year, "vessels": sea}.get(name, vectors)
    bands = cube.bands.values if "bands" in cube.dims else np.array([])
    np.savez(tmp_path / "in.npz", values=cube.values, dims=cube.dims, bands=bands)
    files = [libraries, udfs() / f"{name}.py", tmp_path / "in.npz", tmp_path / "out.npz"]
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found, expected = np.load(files[-1]), function(name)(cube, {})
    assert found["dims"].tolist() == list(expected.dims)
    labels = expected["bands" if "bands" in expected.dims else "embedding"]
    assert found["labels"].tolist() == labels.values.tolist()
    np.testing.assert_allclose(found["values"], expected.values, rtol=1e-6)


@pytest.mark.parametrize("name", [*OF_VECTORS, "crop_type", "vessels"])
def test_the_class_of_openeo_s_client_is_taken_and_given(vectors, year, sea, name):
    cube = {"crop_type": year, "vessels": sea}.get(name, vectors)
    found = function(name)(openeo.udf.XarrayDataCube(cube), {})
    assert isinstance(found, openeo.udf.XarrayDataCube)
    xr.testing.assert_identical(found.get_array(), function(name)(cube, None))


@pytest.mark.parametrize("name", [*OF_VECTORS])
def test_vectors_may_be_called_bands_and_dimensions_come_in_any_order(vectors, name):
    given = vectors.rename(embedding="bands").transpose("y", "bands", "x", "t")
    found = function(name)(given, {})
    assert found.dims == ("y", "bands", "x", "t")
    expected = function(name)(vectors, {}).rename(embedding="bands").transpose(*found.dims)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "context", "told"),
    [
        *[(name, {"embedding": slice(32)}, {}, "64 values.*has 32") for name in OF_VECTORS],
        ("land_cover", {}, {"output": "map"}, "'probabilities' or 'class'"),
        ("water", {}, {"reference": "last"}, "'first' or 'driest'"),
        ("change", {}, {"reference": "last"}, "'previous'"),
        ("change", {"t": 0}, {}, "'t' and 'embedding'"),
        ("water", {"t": 0}, {"reference": "first"}, "dimension 't'"),
        ("cloud", {"embedding": 0}, {}, "'embedding' or 'bands'"),
    ],
)
def test_what_is_wrong_with_vectors_is_told(within, vectors, name, change, context, told):
    with pytest.raises(UDFFailedError, match=told):
        in_graph(name, vectors.isel(change, drop=True), context)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("crop_type", {"bands": slice(5)}, "missing: B08, B11"),
        ("crop_type", {"t": slice(20)}, "31 to 37.*has 20"),
        ("crop_type", {"t": 0}, "missing: NDVI_p10"),
        ("vessels", {"bands": [1, 2]}, "B03 and B08, or VV"),
    ],
)
def test_what_is_wrong_with_pixels_is_told(within, year, name, change, told):
    with pytest.raises(UDFFailedError, match=told):
        in_graph(name, year.isel(change, drop=True))


def test_from_pixels_to_land_cover_in_one_graph(within):
    """encode_embedding and run_udf in one graph: patches keep their places."""
    values = np.random.default_rng(0).integers(200, 4000, (1, 12, 64, 72)).astype(np.uint16)
    coords = {"t": DATES[:1], "bands": list(BANDS), "y": 5_000_320.0 - 5 - 10 * np.arange(64),
              "x": 600_320.0 + 5 + 10 * np.arange(72)}  # fmt: skip
    cube = xr.DataArray(values, dims=("t", "bands", "y", "x"), coords=coords).rio.write_crs(32633)
    embed = {"process_id": "encode_embedding",
             "arguments": {"data": {"from_parameter": "cube"}, "model": "s2-embed-small"}}  # fmt: skip
    apply = {"process_id": "run_udf", "result": True, "arguments": {
        "data": {"from_node": "embed"}, "udf": code("land_cover"), "runtime": "Python",
        "context": {"output": "class"}}}  # fmt: skip
    document = {"process_graph": {"embed": embed, "cover": apply},
                "parameters": [{"name": "cube", "schema": {}}]}  # fmt: skip
    found = execute(document, parameters={"cube": cube}).compute()
    only = execute(
        {
            "process_graph": {"embed": embed | {"result": True}},
            "parameters": document["parameters"],
        },
        parameters={"cube": cube},
    )
    np.testing.assert_array_equal(found.x, only.x)
    np.testing.assert_array_equal(found.y, only.y)
    direct = function("land_cover")(only.compute(), {"output": "class"})
    np.testing.assert_array_equal(found.transpose(*direct.dims), direct)
    assert set(np.unique(found.values[np.isfinite(found.values)])) <= {1, 2, 4, 5, 9}
