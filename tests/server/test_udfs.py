"""UDFs through the openEO client: at once and as batch jobs, from code, files and what goes wrong."""

from __future__ import annotations

import time

import openeo
import pytest
import rasterio
import requests
import xarray as xr
from openeo.rest import OpenEoApiError

from openeo_nc.demo import scene
from openeo_nc.udf import pool

pytestmark = pytest.mark.slow

NEAR = {
    "west": scene.LEFT, "south": scene.TOP - 640, "east": scene.LEFT + 640, "north": scene.TOP,
    "crs": scene.EPSG,
}  # fmt: skip
CODE = """
import xarray as xr

def apply_datacube(cube: xr.DataArray, context: dict) -> xr.DataArray:
    print("a chunk of", cube.sizes["x"], "pixels")
    red, nir = cube.sel(bands="B04"), cube.sel(bands="B08")
    index = (nir - red) / (nir + red) * context["factor"]
    return index.expand_dims(bands=["ndvi"]).transpose(*cube.dims)
"""
FAILING = "def apply_datacube(cube, context):\n    return cube / context['nothing']\n"


@pytest.fixture(autouse=True)
def none_yet():
    """Sandboxes that other tests of this process left, as local processing does, end first."""
    for session in pool.running():
        pool.end(session)


@pytest.fixture
def cube(connection):
    return connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=["2024-05-01", "2024-06-01"],
        bands=["B04", "B08"],
    )  # fmt: skip


@pytest.fixture
def expected(cube, tmp_path):
    cube.download(tmp_path / "bands.nc")
    with xr.open_dataset(tmp_path / "bands.nc") as bands:
        loaded = bands.load()
    return (loaded.B08 - loaded.B04) / (loaded.B08 + loaded.B04)


def test_at_once(cube, expected, tmp_path):
    ndvi = cube.apply_dimension(
        openeo.UDF(CODE, runtime="Python", context={"factor": 1}), dimension="bands"
    )
    ndvi.download(tmp_path / "ndvi.nc")
    with xr.open_dataset(tmp_path / "ndvi.nc") as found:
        name = next(n for n in found.data_vars if found[n].ndim == 3)
        xr.testing.assert_allclose(
            found[name].load().reset_coords(drop=True).rename("a"),
            expected.reset_coords(drop=True).rename("a"), rtol=1e-5,
        )  # fmt: skip
    assert not pool.running()  # the workers are in this process


def test_as_a_batch_job_from_a_file_of_the_user(cube, connection, expected, tmp_path):
    local = tmp_path / "ndvi.py"
    local.write_text(CODE)
    connection.get_file("udfs/ndvi.py").upload(local)
    job = cube.process(
        "run_udf", data=cube, udf="udfs/ndvi.py", runtime="Python", context={"factor": 2}
    ).create_job(out_format="GTiff")
    assert _ended(job) == "finished", job.logs()
    (file,) = job.get_results().download_files(tmp_path / "job", include_stac_metadata=False)
    with rasterio.open(file) as found:
        assert found.read(1).mean() == pytest.approx(2 * float(expected.mean()), rel=1e-4)
    told = [entry["message"] for entry in job.logs()]
    assert "UDF: a chunk of 64 pixels" in told
    assert not pool.running()


def test_what_fails_is_told_with_its_line(cube, data, tmp_path):
    failing = cube.apply(openeo.UDF(FAILING, runtime="Python"))
    with pytest.raises(OpenEoApiError, match="KeyError: 'nothing'") as failed:
        failing.download(tmp_path / "out.nc")
    assert failed.value.code == "UDFFailed"
    assert "line 2, in apply_datacube: return cube / context['nothing']" in failed.value.message
    assert str(data) not in failed.value.message


def test_other_users_files_and_the_servers_network_are_out_of_reach(cube, connect, url, tmp_path):
    theirs = connect("grace")
    local = tmp_path / "secret.py"
    local.write_text(CODE)
    theirs.get_file("secret.py").upload(local)
    for udf, code in (
        ("secret.py", "FileNotFound"),
        ("../grace/secret.py", "FileNotFound"),
        (f"{url}/udf_runtimes", "AddressRefused"),
        ("http://169.254.169.254/latest/meta-data", "AddressRefused"),
    ):
        asked = cube.process("run_udf", data=cube, udf=udf, runtime="Python")
        with pytest.raises(OpenEoApiError) as failed:
            asked.download(tmp_path / "out.nc")
        assert failed.value.code == code
    stolen = cube._connection.load_stac(f"{url}/collections/{scene.COLLECTION}")
    with pytest.raises(OpenEoApiError) as failed:
        stolen.download(tmp_path / "out.nc")
    assert failed.value.code == "AddressRefused"


def test_anonymous_users_run_nothing(url):
    graph = {"udf": {"process_id": "run_udf", "result": True, "arguments": {
        "data": [1], "udf": FAILING, "runtime": "Python"}}}  # fmt: skip
    answer = requests.post(f"{url}/result", json={"process": {"process_graph": graph}}, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (401, "AuthenticationRequired")


def _ended(job):
    job.start()
    until = time.monotonic() + 120
    while (status := job.status()) in ("queued", "running") and time.monotonic() < until:
        time.sleep(0.5)
    return status
