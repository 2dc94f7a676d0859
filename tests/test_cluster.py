"""The cluster of a command: found or started, its workers' memory, its progress."""

from __future__ import annotations

import io
import os
import time

import dask
import pytest
from distributed import Client, LocalCluster, get_client

from openeo_nc import cluster
from openeo_nc.errors import SchedulerUnreachableError


@pytest.fixture(scope="module")
def running():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as local:
        yield local.scheduler_address


def test_an_address_is_used_and_left_running(running):
    with cluster.connect(running) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        assert client.scheduler.address == running
    with Client(running, timeout=5) as again:
        assert len(again.scheduler_info()["workers"]) == 1


def test_nobody_at_the_address_is_a_typed_error(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.3)
    with (
        pytest.raises(SchedulerUnreachableError, match="tcp:"),
        cluster.connect("tcp://127.0.0.1:1"),
    ):
        pass


def test_local_workers_keep_their_memory_and_one_thread(monkeypatch):
    # clusters of other tests in this process leave it in the environment, which workers inherit
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    with cluster.connect(workers=1) as client:
        (environ,) = client.run(lambda: dict(os.environ)).values()
    assert "MALLOC_TRIM_THRESHOLD_" not in environ
    assert environ["OMP_NUM_THREADS"] == "1"
    assert dask.config.get("distributed.nanny.pre-spawn-environ") == before


def test_progress_counts_all_tasks(running, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    bars = []

    class Bar(cluster.tqdm):
        def __init__(self, **options):
            super().__init__(**{**options, "file": shown})
            bars.append(self)

    monkeypatch.setattr(cluster, "tqdm", Bar)
    with cluster.connect(running) as client, cluster.progress(client, "Twelve"):
        client.gather(client.map(lambda x: time.sleep(0.01) or x, range(12), pure=False))
    (bar,) = bars
    assert (bar.n, bar.total) == (12, 12)
    assert "Twelve" in shown.getvalue()


def test_progress_that_is_not_shown_asks_nothing():
    with cluster.progress(None, "x", shown=False):
        pass


def test_a_task_that_computes_makes_its_client_nobodys_default():
    """Of these tests: `workers_keep_their_clients` in conftest.py."""
    import dask.array as da

    def computes(x):
        return float(da.ones((4, 4), chunks=2).sum().compute()) + x

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(computes, 1).result(60) == 17
        assert dask.config.get("scheduler", None) is None
        with pytest.raises(ValueError, match="No global client"):
            get_client()
