"""`openeo-nc worker` and `openeo-nc migrate`: real processes, as containers start them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests
from distributed import Client, LocalCluster

COMMAND = (sys.executable, "-m", "openeo_nc.cli")


@pytest.fixture(scope="module")
def client():
    """A Dask client of a scheduler without workers."""
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", protocol="tcp") as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@contextmanager
def started(client, *arguments, **environment):
    """A worker while the block lasts; gives what the scheduler knows of it."""
    address = client.scheduler.address
    process = subprocess.Popen(
        [*COMMAND, "worker", address, "--name", "one", "--nthreads", "1", "--host", "127.0.0.1",
         "--dashboard-address", "127.0.0.1:0", *arguments],
        env={**os.environ, **environment}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client.wait_for_workers(1, timeout=60)
        (found,) = client.scheduler_info(n_workers=-1)["workers"].values()
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def environment_of_task(*names):
    return {name: os.environ.get(name) for name in names}


NAMES = ("MALLOC_TRIM_THRESHOLD_", "OPENEO_NC_DEVICE", "OMP_NUM_THREADS")


def test_a_worker_for_networks(client):
    with started(client, "--gpu", OMP_NUM_THREADS="3") as found:
        assert found["resources"] == {"GPU": 1.0}
        place = f"http://127.0.0.1:{found['services']['dashboard']}"
        page = requests.get(f"{place}/metrics", timeout=30).text
        assert "openeo_nc_tiles_encoded_total 0.0" in page
        assert "dask_worker_tasks" in page
        assert requests.get(f"{place}/health", timeout=30).text == "ok"
        there = client.submit(environment_of_task, *NAMES, pure=False).result(60)
    assert there == {
        "MALLOC_TRIM_THRESHOLD_": None, "OPENEO_NC_DEVICE": "cuda", "OMP_NUM_THREADS": "3",
    }  # fmt: skip


def test_a_worker_for_reading(client):
    client.run_on_scheduler(lambda: None)
    with started(client, "--no-nanny", MALLOC_TRIM_THRESHOLD_="65536") as found:
        assert found["resources"] == {}
        there = client.submit(environment_of_task, *NAMES[:2], pure=False).result(60)
    assert there == {"MALLOC_TRIM_THRESHOLD_": None, "OPENEO_NC_DEVICE": None}


def test_migrating_makes_the_tables(tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [*COMMAND, "migrate"], env={**os.environ, "OPENEO_NC_DATA": str(tmp_path)},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    assert "up to date" in done.stdout
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert {"jobs", "usage", "alembic_version"} <= tables
