"""Sandboxes on a Dask cluster: one a worker and session, ended with it, and logs that are told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from openeo_nc.errors import AddressRefusedError, UDFFailedError
from openeo_nc.graphs.served import RUN_UDF, Serving, served_registry
from openeo_nc.processes.run_udf import run_udf
from openeo_nc.udf import pool
from openeo_nc.udf.limits import Limits

CODE = "def apply_datacube(cube, context):\n    print('one chunk')\n    return cube * 2"
SLOW = "import time\ndef apply_datacube(cube, context):\n    if cube.sizes['x'] > 8: time.sleep(60)\n    return cube"


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


def test_each_worker_has_one_sandbox_which_ends_with_the_job(client, cube):
    told = []
    with Serving(udfs=True).running(client, "job", "ada", lambda *entry: told.append(entry)):
        pids = set()
        for _ in range(2):
            doubled = run_udf(cube.chunk(x=4), CODE, "Python")
            assert float((doubled - 2 * cube).max().compute()) == 0
            running = client.run(pool.running)
            pids |= {one["job"] for one in running.values()}
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert all(not running for running in client.run(pool.running).values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert ("info", "UDF: one chunk") in told
    assert len(told) == 2 * 16


def test_a_cancelled_task_stops_its_code(client, cube):
    with Serving(udfs=True).running(client, "cancelled", "ada"):
        future = client.compute(run_udf(cube, SLOW, "Python"))
        until = time.monotonic() + 60
        while not any(client.run(pool.running).values()) and time.monotonic() < until:
            time.sleep(0.1)
        future.cancel()
        until = time.monotonic() + 20
        while any(client.run(pool.running).values()) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(client.run(pool.running).values())


def test_errors_of_chunks_come_back_typed(client, cube):
    code = "def apply_datacube(cube, context):\n    assert cube.sizes['x'] > 99\n    return cube"
    small = "def apply_datacube(cube, context):\n    assert float(cube.x[0]) < 1e4\n    return cube"
    with Serving(udfs=True).running(client, "failing", "ada"):
        with pytest.raises(UDFFailedError, match="AssertionError"):
            run_udf(cube, code, "Python")
        with pytest.raises(UDFFailedError, match="line 2, in apply_datacube: assert float"):
            run_udf(cube, small, "Python").compute()


def test_what_a_server_allows(client, cube):
    serving = Serving(udfs=True, limits=Limits(seconds=7), files="/data", hosts=("a.example",))
    assert Serving.from_json(serving.to_json()) == serving
    ids = {process_id for _, process_id in served_registry(serving)}
    assert ids - {process_id for _, process_id in served_registry()} == {RUN_UDF}
    with serving.running(client, "url", "ada"), pytest.raises(AddressRefusedError):
        run_udf(cube, "http://127.0.0.1/udf.py", "Python")
