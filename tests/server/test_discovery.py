"""What anybody may ask, as openEO's specification has it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import requests
from openeo_api import check

from openeo_nc.demo.scene import COLLECTION
from openeo_nc.processes import save_result
from openeo_nc.sentinel2 import BANDS

E_GRAPH = {"e": {"process_id": "e", "arguments": {}, "result": True}}
PAGES = [
    "/",
    "/.well-known/openeo",
    "/conformance",
    "/collections",
    "/processes",
    "/file_formats",
    "/udf_runtimes",
    "/service_types",
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_as_specified(url, path):
    response = requests.get(url + path, timeout=60)
    assert response.status_code == 200
    check(response, path)


def test_endpoints_are_those_that_are_there(url):
    endpoints = requests.get(url, timeout=30).json()["endpoints"]
    assert len({one["path"] for one in endpoints}) == len(endpoints)
    paths = {one["path"]: one["methods"] for one in endpoints}
    assert paths["/jobs/{job_id}/results"] == ["GET", "POST", "DELETE"]
    assert paths["/files/{path}"] == ["GET", "PUT", "DELETE"]
    assert "/credentials/oidc" not in paths
    for path, methods in paths.items():
        place = url + path.replace("{", "").replace("}", "")
        for method in methods:
            answer = requests.request(method, place, timeout=30, json={})
            assert answer.status_code not in (404, 405) or answer.json()["code"] != "NotFound"


def test_collection_has_the_dimensions_of_its_cubes(url):
    response = requests.get(f"{url}/collections/{COLLECTION}", timeout=30)
    check(response, "/collections/{collection_id}")
    dims = response.json()["cube:dimensions"]
    assert list(dims) == ["x", "y", "t", "bands"]
    assert dims["bands"]["values"][:12] == list(BANDS)
    assert dims["t"]["extent"][0].startswith("2024-05-12")


def test_unknown_collection(url):
    response = requests.get(f"{url}/collections/nowhere", timeout=30)
    check(response, "/collections/{collection_id}")
    assert response.status_code == 404
    assert response.json()["code"] == "CollectionNotFound"


def test_items_are_chosen_by_time_and_place(url):
    place = f"{url}/collections/{COLLECTION}/items"
    everything = requests.get(place, timeout=30).json()
    assert everything["type"] == "FeatureCollection"
    assert everything["numberReturned"] == 3
    one = requests.get(place, params={"datetime": "2024-06-01/2024-08-01"}, timeout=30).json()
    assert [item["id"] for item in one["features"]] == ["SYNTHETIC_20240706_L2A"]
    assert not one["features"][0]["assets"]  # they are files of the server
    none = requests.get(place, params={"bbox": "10,50,11,51"}, timeout=30).json()
    assert none["features"] == []
    wrong = requests.get(place, params={"bbox": "here"}, timeout=30)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "RequestInvalid")


def test_pages_of_items_are_linked_with_what_was_asked_for(url):
    place = f"{url}/collections/{COLLECTION}/items"
    every = [item["id"] for item in requests.get(place, timeout=30).json()["features"]]
    following, ids = f"{place}?limit=1&datetime=2024-01-01/..", []
    while following:
        page = requests.get(following, timeout=30).json()
        assert len(page["features"]) <= 1
        ids += [item["id"] for item in page["features"]]
        assert len(ids) <= len(every)
        following = {link["rel"]: link["href"] for link in page["links"]}.get("next")
        assert following is None or "datetime=2024-01-01" in following
    assert ids == every


def test_pages_of_lists_are_linked(url, token):
    made = [
        requests.post(f"{url}/jobs", json={"process": {"process_graph": E_GRAPH}}, headers=token(),
                      timeout=30).headers["OpenEO-Identifier"]
        for _ in range(2)
    ]  # fmt: skip
    ids, place = [], f"{url}/jobs?limit=1"
    while place and len(ids) < 100:
        page = requests.get(place, headers=token(), timeout=30).json()
        assert len(page["jobs"]) <= 1
        ids += [job["id"] for job in page["jobs"]]
        place = {link["rel"]: link["href"] for link in page["links"]}.get("next")
    assert len(set(ids)) == len(ids)
    assert set(made) <= set(ids)
    for job in made:
        requests.delete(f"{url}/jobs/{job}", headers=token(), timeout=30)


def test_processes_are_one_page(url):
    """openEO's JavaScript client asks for 50, and builds graphs of these only."""
    listed = requests.get(f"{url}/processes?limit=50", timeout=30).json()
    ids = [process["id"] for process in listed["processes"]]
    assert len(ids) > 100
    assert ids == sorted(set(ids))
    assert not listed["links"]


def test_file_formats_are_those_of_save_result(url):
    known = {*save_result._FORMATS, *save_result._REPORTS, "GEOJSON"}
    assert set(requests.get(f"{url}/file_formats", timeout=30).json()["output"]) == known


def test_runtimes_of_udfs_are_those_that_run(url):
    listed = requests.get(f"{url}/processes", timeout=30).json()["processes"]
    assert "run_udf" in [process["id"] for process in listed]
    runtimes = requests.get(f"{url}/udf_runtimes", timeout=30).json()
    version = runtimes["Python"]["default"]
    assert version == f"{sys.version_info.major}.{sys.version_info.minor}"
    libraries = runtimes["Python"]["versions"][version]["libraries"]
    assert libraries["numpy"]["version"] == np.__version__


def test_client_connects_and_lists(connect):
    connection = connect()
    assert connection.capabilities().api_version() == "1.2.0"
    assert COLLECTION in connection.list_collection_ids()
    assert "compress_cube" in [process["id"] for process in connection.list_processes()]
    assert connection.describe_collection(COLLECTION)["id"] == COLLECTION
    assert connection.list_file_formats()["output"].keys() >= {"ZARR", "GTIFF", "NETCDF"}


def test_scripts_of_other_origins_may_call(url):
    asked = {
        "Origin": "https://editor.openeo.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = requests.options(f"{url}/jobs", headers=asked, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", asked["Origin"])
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    refused = requests.get(f"{url}/jobs", headers={"Origin": asked["Origin"]}, timeout=30)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"]
    assert "OpenEO-Identifier" in refused.headers["Access-Control-Expose-Headers"]


def test_health(url):
    assert requests.get(f"{url}/health", timeout=30).json() == {"status": "ok"}
    assert requests.get(f"{url}/ready", timeout=30).json() == {"status": "ok", "failing": []}


def test_the_api_describes_its_failures(url):
    document = requests.get(f"{url}/openapi.json", timeout=30).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            assert {"4XX", "5XX"} <= set(operation["responses"])
            assert "422" not in operation["responses"]
