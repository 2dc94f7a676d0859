"""A network on the CPU takes its share of the cores: of the machine's workers, of a worker's threads."""

from __future__ import annotations

import threading

import pytest
import torch

from openeo_nc import errors
from openeo_nc.inference import threads


@pytest.fixture
def cores(monkeypatch):
    """Sets how many cores the machine has, and how many workers; gives a fresh share."""
    monkeypatch.delenv(threads.VARIABLE, raising=False)

    def given(cores, workers=None):
        monkeypatch.setattr(threads, "CPU_COUNT", cores)
        if workers is not None:
            monkeypatch.setattr(threads, "_worker", lambda: "a worker")
            monkeypatch.setattr(threads, "workers_beside", lambda worker: workers)
        return threads.Share()

    return given


def test_outside_of_workers_it_is_what_torch_takes_by_itself(cores):
    with cores(8).taken() as count:
        assert count == torch.get_num_threads()


@pytest.mark.parametrize(("workers", "expected"), [(1, 8), (2, 4), (3, 2), (16, 1)])
def test_workers_of_a_machine_share_its_cores(cores, workers, expected):
    before = torch.get_num_threads()
    with cores(8, workers).taken() as count:
        assert count == torch.get_num_threads() == expected
    assert torch.get_num_threads() == before


def test_networks_of_a_worker_share_its_cores(cores):
    share, inside, leave, counts = cores(8, 1), threading.Barrier(3), threading.Event(), []

    def run():
        with share.taken() as count:
            counts.append(count)
            inside.wait(10)
            leave.wait(10)

    others = [threading.Thread(target=run) for _ in range(2)]
    for other in others:
        other.start()
    inside.wait(10)
    with share.taken() as count:
        assert count == 2
    leave.set()
    for other in others:
        other.join(10)
    assert sorted(counts) == [4, 8]
    with share.taken() as count:
        assert count == 8


def test_the_environment_says_it_instead(cores, monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "3")
    with cores(8, 2).taken() as count:
        assert count == 3
    monkeypatch.setenv(threads.VARIABLE, "many")
    share = cores(8)
    with pytest.raises(errors.InvalidParameterError, match="OPENEO_NC_THREADS"), share.taken():
        pass


def _count():
    share = threads.Share()
    with share.taken() as count:
        return count, threads.workers_beside(threads._worker())


@pytest.mark.slow
def test_a_worker_under_a_nanny_finds_out_by_itself():
    """The nanny sets OMP_NUM_THREADS=1; two workers of one machine have half of its cores each."""
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        found = [client.submit(_count, workers=[w], pure=False) for w in cluster.scheduler.workers]
        assert [future.result(60) for future in found] == [(max(1, CPU_COUNT // 2), 2)] * 2
