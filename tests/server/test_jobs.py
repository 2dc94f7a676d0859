"""Batch jobs with the openEO client, from their creation to their results, and what goes wrong."""

from __future__ import annotations

import time
from urllib.parse import urljoin

import pyarrow.parquet as pq
import pytest
import rasterio
import requests
import xarray as xr
import zarr
from matplotlib import image
from openeo.rest import OpenEoApiError
from openeo_api import check

from openeo_nc.client import compress_cube, encode_embedding
from openeo_nc.demo import scene
from openeo_nc.server.links import Links

pytestmark = pytest.mark.slow

NEAR = {
    "west": scene.LEFT, "south": scene.TOP - 640, "east": scene.LEFT + 640, "north": scene.TOP,
    "crs": scene.EPSG,
}  # fmt: skip
MAY = ["2024-05-01", "2024-06-01"]
TIF = "result_2024-05-12.tif"
E_GRAPH = {"e": {"process_id": "e", "arguments": {}, "result": True}}


@pytest.fixture(scope="module")
def finished(url, token):
    """A job that has saved a compressed cube as Zarr, GeoTIFF and NetCDF; its URL."""
    graph = {
        "load": {"process_id": "load_collection", "arguments": {
            "id": scene.COLLECTION, "spatial_extent": NEAR, "temporal_extent": MAY,
            "bands": ["B02", "B03", "B04"]}},
        "compress": {"process_id": "compress_cube", "arguments": {
            "data": {"from_node": "load"}, "quality": 5}},
        "zarr": {"process_id": "save_result", "arguments": {
            "data": {"from_node": "compress"}, "format": "ZARR"}},
        "netcdf": {"process_id": "save_result", "arguments": {
            "data": {"from_node": "load"}, "format": "netCDF"}},
        "gtiff": {"process_id": "save_result", "result": True, "arguments": {
            "data": {"from_node": "compress"}, "format": "GTiff"}},
    }  # fmt: skip
    body = {"title": "Near the sea", "process": {"process_graph": graph}}
    made = requests.post(f"{url}/jobs", json=body, headers=token(), timeout=30)
    assert made.status_code == 201
    place = made.headers["Location"]
    assert place == f"{url}/jobs/{made.headers['OpenEO-Identifier']}"
    assert requests.post(f"{place}/results", headers=token(), timeout=30).status_code == 202
    _ended(place, token())
    return place


def _ended(place, headers):
    until = time.monotonic() + 150
    while time.monotonic() < until:
        status = requests.get(place, headers=headers, timeout=30).json()["status"]
        if status not in ("queued", "running"):
            return status
        time.sleep(0.5)
    raise AssertionError("the job did not end")


def test_a_finished_job_is_as_specified(finished, token):
    job = requests.get(finished, headers=token(), timeout=30)
    check(job, "/jobs/{job_id}")
    assert (job.json()["status"], job.json()["progress"]) == ("finished", 100)
    assert job.json()["title"] == "Near the sea"
    logs = requests.get(f"{finished}/logs", headers=token(), timeout=30)
    check(logs, "/jobs/{job_id}/logs")
    entries = logs.json()["logs"]
    assert len(entries) >= 3
    later = requests.get(f"{finished}/logs?offset={entries[0]['id']}", headers=token(), timeout=30)
    assert later.json()["logs"] == entries[1:]
    errors = requests.get(f"{finished}/logs?level=error", headers=token(), timeout=30)
    assert errors.json()["logs"] == []


def test_results_are_a_stac_collection_with_links_for_anybody(finished, token, tmp_path):
    results = requests.get(f"{finished}/results", headers=token(), timeout=30)
    check(results, "/jobs/{job_id}/results")
    collection = results.json()
    job = requests.get(finished, headers=token(), timeout=30).json()
    assert collection["usage"] == job["usage"]
    assert set(collection["assets"]) == {"result.zarr.zip", TIF, "result.nc"}
    west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
    assert 0 < west < east < 0.2
    assert 4 < south < north < 5
    start, end = collection["extent"]["temporal"]["interval"][0]
    assert start.startswith("2024-05-12")
    assert end.startswith("2024-05-12")
    links = {one["rel"]: one["href"] for one in collection["links"]}
    canonical = requests.get(links["canonical"], timeout=30)
    check(canonical, "/jobs/{job_id}/results")
    assert canonical.json() == collection
    forged = links["canonical"].replace("/results/", "/results/0")
    assert requests.get(forged, timeout=30).status_code == 403
    for asset in collection["assets"].values():
        head = requests.head(asset["href"], timeout=30)
        assert head.status_code == 200
        got = requests.get(asset["href"], timeout=30)
        assert got.headers["Content-Type"] == head.headers["Content-Type"] == asset["type"]
        if "file:size" in asset:
            assert len(got.content) == asset["file:size"] == int(head.headers["Content-Length"])
    part = requests.get(
        collection["assets"][TIF]["href"], headers={"Range": "bytes=0-3"}, timeout=30
    )
    assert (part.status_code, part.content) == (206, b"II*\0")


def test_a_store_opens_over_http(finished, token, tmp_path):
    assets = requests.get(f"{finished}/results", headers=token(), timeout=30).json()["assets"]
    packed = assets["result.zarr.zip"]
    (tmp_path / "store.zip").write_bytes(requests.get(packed["href"], timeout=30).content)
    with zarr.storage.ZipStore(tmp_path / "store.zip", mode="r") as store:
        downloaded = xr.open_zarr(store)["data"].load()
    below = packed["alternate"]["store"]["href"]
    document = requests.get(f"{below}/zarr.json", timeout=30).json()
    assert document["node_type"] == "group"
    assert requests.get(f"{below}/data/zarr.json", timeout=30).json()["node_type"] == "array"
    assert requests.get(f"{below}/data/c/9/9/9/9", timeout=30).status_code == 404
    assert downloaded.sizes["bands"] == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.replace(TIF, "result.nc"),
        lambda path: path.replace(TIF, "../../../secret"),
        lambda path: path.replace(TIF, "%2e%2e/%2e%2e/%2e%2e/secret"),
        lambda path: path + "/../result.nc",
        lambda path: path.replace("/assets/", "/assets/0"),
        lambda path: path.replace("/assets/", "/assets/ü"),
    ],
)
def test_links_are_good_for_what_they_sign(url, finished, token, change):
    assets = requests.get(f"{finished}/results", headers=token(), timeout=30).json()["assets"]
    request = requests.Request("GET", "http://x").prepare()
    request.url = change(assets[TIF]["href"])  # as it is, `..` and all
    with requests.Session() as session:
        refused = session.send(request, timeout=30)
    assert refused.status_code in (403, 404)
    assert refused.json()["code"] in ("PermissionsInsufficient", "NotFound")


def test_links_expire(url, finished, token, settings):
    assets = requests.get(f"{finished}/results", headers=token(), timeout=30).json()["assets"]
    path = assets[TIF]["href"].split("/assets/")[1].split("/", 2)[2]
    links = Links(settings.secret_bytes(), 1)
    expired = links.signed(path, int(time.time()) - 1)
    answer = requests.get(url + expired, timeout=30)
    check(answer, "/jobs/{job_id}/results")
    assert (answer.status_code, answer.json()["code"]) == (410, "ResultLinkExpired")
    longer = expired.split("/")
    longer[3] = str(int(time.time()) + 1000)
    assert requests.get(url + "/".join(longer), timeout=30).status_code == 403


def test_jobs_of_others_are_not_found(url, finished, token):
    for method, path in (
        ("get", ""), ("patch", ""), ("delete", ""), ("get", "/logs"), ("get", "/results"),
        ("post", "/results"), ("delete", "/results"),
    ):  # fmt: skip
        answer = requests.request(
            method, finished + path, headers=token("grace"), json={"title": "mine"}, timeout=30
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "JobNotFound")
    assert requests.get(f"{url}/jobs", headers=token("grace"), timeout=30).json()["jobs"] == []
    mine = requests.get(f"{url}/jobs", headers=token(), timeout=30)
    check(mine, "/jobs")
    assert finished.rsplit("/", 1)[1] in [job["id"] for job in mine.json()["jobs"]]
    assert "process" not in mine.json()["jobs"][0]


def test_client_runs_a_job(connection, tmp_path):
    cube = connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=MAY, bands=["B02", "B03"]
    )
    job = compress_cube(cube, quality=3).create_job(out_format="GTiff", title="With the client")
    assert job.status() == "created"
    job.start_and_wait(print=lambda line: None, max_poll_interval=1)
    assert job.status() == "finished"
    job.get_results().download_files(tmp_path)
    with rasterio.open(tmp_path / TIF) as saved:
        assert saved.count == 2
    assert [entry["level"] for entry in job.logs(level="error")] == []
    assert job.describe()["title"] == "With the client"
    job.delete()
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        job.status()


def test_one_file_is_one_asset_and_its_items_links_hold(connection, tmp_path):
    cube = connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=MAY, bands=["B02", "B03", "B04"]
    )
    vectors = encode_embedding(cube, model="s2-embed-small")
    job = vectors.execute_batch(
        tmp_path / "batch.parquet", out_format="PARQUET", print=lambda line: None,
        max_poll_interval=1,
    )  # fmt: skip
    vectors.download(tmp_path / "at-once.parquet")
    batch, at_once = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("batch", "at-once"))
    assert batch.equals(at_once)
    assert batch.num_rows == 9 * 9  # 64 pixels a side lie in 9 patches of 8
    results = job.get_results().get_metadata()
    assert set(results["assets"]) == {"result.parquet"}
    assert results["extent"]["temporal"]["interval"][0][0].startswith("2024-05-12")
    links = {one["title"]: one for one in results["links"] if "title" in one}
    assert {title: one["rel"] for title, one in links.items()} == {
        "result.json": "item", "result-collection.json": "related", "result-model.json": "related",
    }  # fmt: skip
    place = links["result.json"]["href"]
    item = requests.get(place, timeout=30).json()
    inside = urljoin(place, item["assets"]["embeddings"]["href"])
    assert requests.get(inside, timeout=30).content == (tmp_path / "batch.parquet").read_bytes()
    related = [one["href"] for one in item["links"] if one["href"].startswith("./")]
    assert len(related) == 3
    for href in related:
        assert requests.get(urljoin(place, href), timeout=30).status_code == 200, href


def test_a_canceled_job_says_what_it_used(connection, url, token):
    cube = connection.load_collection(scene.COLLECTION)  # all of it, which takes a while
    job = compress_cube(cube, target_psnr=45).create_job(out_format="ZARR")
    job.start()
    until = time.monotonic() + 120
    while job.status() == "queued" and time.monotonic() < until:
        time.sleep(0.1)
    job.stop()
    described = requests.get(f"{url}/jobs/{job.job_id}", headers=token(), timeout=30)
    check(described, "/jobs/{job_id}")
    assert described.json()["status"] == "canceled"
    assert described.json()["usage"]["cpu"]["unit"] == "cpu-seconds"
    job.delete()


def test_a_failed_job_tells_why(connection):
    graph = {"load": {"process_id": "load_collection", "arguments": {
        "id": "nowhere", "spatial_extent": None, "temporal_extent": None}},
        "save": {"process_id": "save_result", "result": True, "arguments": {
            "data": {"from_node": "load"}, "format": "ZARR"}}}  # fmt: skip
    job = connection.create_job(graph)
    assert _ended_job(job) == "error"
    (error,) = job.logs(level="error")
    assert error["code"] == "CollectionNotFound"
    assert "'load'" in error["message"]
    answer = connection.get(f"/jobs/{job.job_id}/results", check_error=False)
    check(answer, "/jobs/{job_id}/results")
    assert (answer.status_code, answer.json()["code"]) == (424, "CollectionNotFound")


def test_udfs_take_cubes(connection):
    graph = {"udf": {"process_id": "run_udf", "result": True, "arguments": {
        "data": [1], "udf": "def apply_datacube(cube, context):\n    return cube", "runtime": "Python"}}}  # fmt: skip
    job = connection.create_job(graph)
    assert _ended_job(job) == "error"
    (error,) = job.logs(level="error")
    assert error["code"] == "ProcessParameterInvalid"


def _ended_job(job):
    job.start()
    until = time.monotonic() + 120
    while (status := job.status()) in ("queued", "running") and time.monotonic() < until:
        time.sleep(0.5)
    return status


def test_jobs_before_they_start(url, token, connection):
    job = connection.create_job(E_GRAPH, title="one")
    answer = connection.get(f"/jobs/{job.job_id}/results", check_error=False)
    check(answer, "/jobs/{job_id}/results")
    assert (answer.status_code, answer.json()["code"]) == (400, "JobNotFinished")
    place, headers = f"{url}/jobs/{job.job_id}", token()
    changed = requests.patch(place, json={"title": "two", "budget": 5}, headers=headers, timeout=30)
    assert changed.status_code == 204
    document = requests.get(place, headers=headers, timeout=30)
    check(document, "/jobs/{job_id}")
    assert (document.json()["title"], document.json()["budget"]) == ("two", 5)
    nothing = requests.patch(place, json={}, headers=headers, timeout=30)
    check(nothing, "/jobs/{job_id}", "patch")
    assert nothing.json()["code"] == "NoDataForUpdate"
    wrong = requests.patch(place, json={"process": {}}, headers=headers, timeout=30)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "ProcessGraphMissing")
    assert requests.delete(f"{place}/results", headers=headers, timeout=30).status_code == 204
    (entry,) = requests.get(f"{place}/logs", headers=headers, timeout=30).json()["logs"]
    assert entry["message"] == "The job was created."


def test_wrong_offsets_of_logs(url, token, connection):
    job = connection.create_job(E_GRAPH)
    for query in ("offset=x", "level=loud", "limit=0"):
        place = f"{url}/jobs/{job.job_id}/logs?{query}"
        assert requests.get(place, headers=token(), timeout=30).status_code == 400


def test_a_picture_by_batch(connection, tmp_path):
    cube = connection.load_collection(
        scene.COLLECTION, spatial_extent=NEAR, temporal_extent=MAY, bands=["B04", "B03", "B02"]
    )
    job = cube.execute_batch(
        tmp_path / "out.png", out_format="PNG", print=lambda line: None, max_poll_interval=1
    )
    assert job.status() == "finished"
    (asset,) = job.get_results().get_metadata()["assets"].values()
    assert asset["type"] == "image/png"
    picture = image.imread(tmp_path / "out.png")
    assert picture.shape[:2] == (64, 64)
    assert picture[..., :3].std() > 0
    job.delete()
