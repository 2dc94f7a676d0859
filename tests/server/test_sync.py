"""Synchronous results with the openEO client: files of each format, values, and what goes wrong."""

from __future__ import annotations

import json
import tarfile

import openeo
import pytest
import rasterio
import requests
import xarray as xr
import zarr
from openeo.rest import OpenEoApiError
from openeo_api import check

from openeo_nc.client import compress_cube
from openeo_nc.demo import scene

NEAR = {
    "west": scene.LEFT, "south": scene.TOP - 640, "east": scene.LEFT + 640, "north": scene.TOP,
    "crs": scene.EPSG,
}  # fmt: skip
"""64 x 64 pixels."""
MAY = ["2024-05-01", "2024-06-01"]


@pytest.fixture
def cube(connection):
    return connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=MAY, bands=["B02", "B03", "B04"]
    )


def test_client_downloads_netcdf(cube, tmp_path):
    cube.download(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as saved:
        assert {"B02", "B03", "B04"} <= set(saved.data_vars)
        assert saved.sizes["x"] == saved.sizes["y"] == 64
        assert 0 < float(saved["B02"].mean()) < 1


def test_client_downloads_geotiff_of_compressed_cube(cube, tmp_path):
    compress_cube(cube, quality=5).download(tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as saved:
        assert (saved.count, saved.width, saved.height) == (3, 64, 64)
        assert saved.crs.to_epsg() == scene.EPSG


def test_client_downloads_zarr_that_opens_in_xarray(cube, tmp_path):
    compress_cube(cube, quality=5).download(tmp_path / "out.zip", format="ZARR")
    with zarr.storage.ZipStore(tmp_path / "out.zip", mode="r") as store:
        opened = xr.open_zarr(store)["data"].load()
    cube.download(tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_coords="all") as saved:
        original = saved["B03"].load()
    restored = opened.sel(bands="B03").sel(x=original.x, y=original.y, method="nearest")
    assert float(abs(restored - original.values).mean()) < 0.01


def test_several_results_come_as_a_tar(connection, tmp_path):
    cube = connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=["2024-05-01", "2024-08-01"],
        bands=["B02"],
    )  # fmt: skip
    cube.download(tmp_path / "out.tar", format="GTIFF")
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = archive.getnames()
    assert len(names) == 2
    assert all(name.endswith(".tif") for name in names)


def test_values_come_as_json(connection):
    graph = {"add": {"process_id": "add", "arguments": {"x": 3, "y": 4.5}, "result": True}}
    assert connection.execute(graph) == 7.5


def test_not_a_number_is_null(connection):
    graph = {"nan": {"process_id": "nan", "arguments": {}, "result": True}}
    assert connection.execute(graph) is None


def test_errors_name_the_node(connection):
    graph = {"wrong": {"process_id": "add", "arguments": {"x": 3}, "result": True}}
    with pytest.raises(OpenEoApiError, match=r"\[400\] ProcessParameterRequired: node 'wrong'"):
        connection.execute(graph)


def test_cube_without_save_result_is_refused(connection):
    graph = {"load": {"process_id": "load_collection", "result": True, "arguments": {
        "id": scene.COLLECTION, "spatial_extent": NEAR, "temporal_extent": MAY}}}  # fmt: skip
    with pytest.raises(OpenEoApiError, match=r"ProcessGraphInvalid.*save_result"):
        connection.execute(graph)


def test_nothing_is_left_of_requests(connection, cube, data, tmp_path):
    cube.download(tmp_path / "out.nc")
    graph = {"wrong": {"process_id": "add", "arguments": {"x": 3}, "result": True}}
    with pytest.raises(OpenEoApiError):
        connection.execute(graph)
    assert not list((data / "sync").iterdir())


def test_files_of_the_server_are_not_loaded(connection, data):
    graph = {"load": {"process_id": "load_stac", "result": True, "arguments": {
        "url": str(data / "demo" / "catalog.json")}}}  # fmt: skip
    with pytest.raises(OpenEoApiError, match="http or https URL"):
        connection.execute(graph)


def test_validation_needs_no_values_of_parameters(connection, url):
    graph = {"add": {"process_id": "add", "result": True,
                     "arguments": {"x": {"from_parameter": "x"}, "y": "four"}}}  # fmt: skip
    response = requests.post(f"{url}/validation", json={"process_graph": graph}, timeout=30)
    check(response, "/validation", "post")
    (error,) = response.json()["errors"]
    assert error["code"] == "ProcessParameterInvalid"
    assert "'add'" in error["message"]
    graph["add"]["arguments"]["y"] = 4
    assert connection.validate_process_graph(graph) == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"process": {}}', b'{"process": 1}'])
def test_requests_without_a_graph_are_refused(url, token, body):
    response = requests.post(
        f"{url}/result", data=body, timeout=30,
        headers=token() | {"Content-Type": "application/json"},
    )  # fmt: skip
    check(response, "/result", "post")
    assert response.status_code == 400


def test_user_defined_process(connection, connect):
    twice = {"double": {"process_id": "multiply", "result": True,
                        "arguments": {"x": {"from_parameter": "x"}, "y": 2}}}  # fmt: skip
    parameter = openeo.api.process.Parameter.number("x", description="What to double.")
    stored = connection.save_user_defined_process("twice", twice, parameters=[parameter])
    assert "twice" in [process["id"] for process in connection.list_user_defined_processes()]
    graph = {"mine": {"process_id": "twice", "arguments": {"x": 21}, "result": True}}
    assert connection.execute(graph) == 42
    assert connection.validate_process_graph(graph) == []
    other = connect("grace")
    with pytest.raises(OpenEoApiError, match="ProcessUnsupported"):
        other.execute(graph)
    assert other.list_user_defined_processes() == []
    stored.delete()
    with pytest.raises(OpenEoApiError, match="ProcessUnsupported"):
        connection.execute(graph)


def test_user_defined_processes_are_as_specified(url, token):
    place = f"{url}/process_graphs"
    document = {"summary": "One.", "parameters": [],
                "process_graph": {"e": {"process_id": "e", "arguments": {}, "result": True}}}  # fmt: skip
    put = requests.put(f"{place}/one", json=document, headers=token(), timeout=30)
    assert put.status_code == 200
    listed = requests.get(place, headers=token(), timeout=30)
    check(listed, "/process_graphs")
    assert "process_graph" not in json.dumps(listed.json()["processes"])
    got = requests.get(f"{place}/one", headers=token(), timeout=30)
    check(got, "/process_graphs/{process_graph_id}")
    assert got.json()["process_graph"] == document["process_graph"]
    gone = requests.delete(f"{place}/one", headers=token(), timeout=30)
    assert gone.status_code == 204
    missing = requests.get(f"{place}/one", headers=token(), timeout=30)
    check(missing, "/process_graphs/{process_graph_id}")
    assert missing.json()["code"] == "ProcessGraphNotFound"
    named = requests.put(f"{place}/not-a-name", json=document, headers=token(), timeout=30)
    assert named.status_code == 400
