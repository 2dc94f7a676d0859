"""Servers on one database, killed while jobs run and started again; object storage and TLS."""

from __future__ import annotations

import io
import time
import zipfile

import certificates
import numpy as np
import pytest
import requests
import zarr
from object_storage import URL, storage
from served import Served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3():
    """Object storage, and this process's access to it."""
    pytest.importorskip("moto.server", reason="moto, a server of S3, is not installed")
    with storage() as opened, pytest.MonkeyPatch.context() as patched:
        for name, value in opened.environment.items():
            patched.setenv(name, value)
        yield opened


@pytest.fixture(scope="module")
def cluster(s3):
    """A cluster whose workers have access to it."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as started:
        yield started


@pytest.fixture
def serve(cluster, environment, tmp_path):
    """Starts servers on one database, and ends them."""
    started = []

    def start(ca=None, **more):
        settings = {
            "OPENEO_NC_DATA": str(tmp_path / "data"),
            "OPENEO_NC_SCHEDULER": cluster.scheduler_address,
            "OPENEO_NC_SECRET": "shared by both",
            "OPENEO_NC_RUNNING_PER_USER": "4",
            **environment,
            **more,
        }
        started.append(Served(settings, ca))
        return started[-1]

    yield start
    for one in started:
        one.close()


def until(holds, seconds=100):
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it did not come to hold"
        time.sleep(0.05)


def over(statuses):
    """Whether all jobs ended, well or not."""
    return set(statuses.values()) <= {"finished", "error", "canceled"}


def attempts(server, job_id):
    """Attempts that a job's log tells of."""
    told = [entry["message"] for entry in server.get(f"/jobs/{job_id}/logs")["logs"]]
    return [message for message in told if message.endswith("starts.")]


def test_servers_killed_with_jobs_running_lose_none(serve, process, client, tamper):
    tamper(seconds=0.5)
    first, second = serve(), serve()
    ids = [first.started().run(process), second.started().run(process)]
    ids += [first.run(process), second.run(process)]
    assert set(first.statuses()) == set(second.statuses()) == set(ids)
    until(lambda: any(attempts(first, job_id) for job_id in ids))
    running = [job_id for job_id in ids if attempts(first, job_id)]
    first.kill()
    assert set(second.statuses()) == set(ids)
    second.kill()
    again = serve().started()
    assert set(again.statuses()) == set(ids)
    until(lambda: over(again.statuses()))
    assert set(again.statuses().values()) == {"finished"}
    for job_id in ids:
        assert again.get(f"/jobs/{job_id}/results")["openeo:status"] == "finished"
    for job_id in running:  # its runner went on by itself
        assert attempts(again, job_id) == ["The job starts."]


def test_results_in_object_storage_are_served_over_tls(serve, process, tmp_path, s3):
    files = certificates.made(tmp_path)
    tls = {"OPENEO_NC_TLS_CERTIFICATE": files.certificate, "OPENEO_NC_TLS_KEY": files.key}
    server = serve(files.ca, OPENEO_NC_RESULTS=URL, **tls).started()
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url.replace("https", "http"), timeout=30)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url, timeout=30)
    job_id = server.run(process)
    until(lambda: over(server.statuses()))
    assert server.statuses() == {job_id: "finished"}
    found = server.get(f"/jobs/{job_id}/results")
    west, south, east, north = found["extent"]["spatial"]["bbox"][0]
    assert -180 < west < east < 180
    (asset,) = found["assets"].values()
    del server.session.headers["Authorization"]
    packed = server.session.get(asset["href"], timeout=60)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as file:
        file.extractall(tmp_path / "packed.zarr")
    array = zarr.open_array(tmp_path / "packed.zarr", path="data", mode="r")
    assert array.shape[0] == 4
    assert np.isfinite(array[0]).any()  # tiles reach beyond the scenes
    shard = f"{asset['alternate']['store']['href']}/data/c/0/0/0/0"
    full = server.session.get(shard, timeout=60)
    assert full.headers["Accept-Ranges"] == "bytes"
    assert server.session.head(shard, timeout=60).headers["Content-Length"] == str(
        len(full.content)
    )
    for asked, part in (("bytes=-20", full.content[-20:]), ("bytes=3-9", full.content[3:10])):
        answer = server.session.get(shard, headers={"Range": asked}, timeout=60)
        assert (answer.status_code, answer.content) == (206, part)
    beyond = {"Range": f"bytes={len(full.content)}-"}
    assert server.session.get(shard, headers=beyond, timeout=60).status_code == 416
    assert server.session.get(f"{shard}/none", timeout=60).status_code == 404
