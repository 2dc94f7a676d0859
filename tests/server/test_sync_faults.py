"""Synchronous results of tiles that cannot be read, or that end their workers: typed errors."""

from __future__ import annotations

import errno

import pytest
import stac_scenes
from distributed import Client, LocalCluster
from tampering import Tampering

from openeo_nc.errors import AssetMissingError, PoisonTaskError
from openeo_nc.server import evaluation
from openeo_nc.server.evaluation import Evaluation, Request

PROCESS = {
    "process_graph": {
        "load": {
            "process_id": "load_collection",
            "arguments": {
                "id": "scenes", "spatial_extent": None, "temporal_extent": None,
                "bands": ["B04", "B05"],
            },
        },
        "save": {
            "process_id": "save_result",
            "arguments": {"data": {"from_node": "load"}, "format": "NETCDF"},
            "result": True,
        },
    }
}  # fmt: skip


@pytest.fixture
def scenes(tmp_path):
    """A collection of two dates."""
    items = [stac_scenes.granule(tmp_path, f"S2_{n}", f"2026-05-0{n}T10:00:00Z") for n in (1, 2)]
    return stac_scenes.write_collection(tmp_path, items)


@pytest.fixture(scope="module")
def processes():
    """A client of a cluster whose worker may end; it gives a task one worker only."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as started,
        Client(started, set_as_default=False) as client,
    ):
        client.run_on_scheduler(
            lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0)
        )
        yield client


def run(client, scenes, folder):
    return Evaluation(1).run(
        Request(
            process=PROCESS, folder=folder, scheduler=client.scheduler.address,
            catalogues=(str(scenes),), seconds=200.0,
        )
    )  # fmt: skip


def test_a_damaged_tile_is_named(processes, scenes, tmp_path):
    victim = scenes.parent / "S2_2" / "B04.tif"
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(AssetMissingError, match="'B04' of item 'S2_2'"):
        run(processes, scenes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tile_that_ends_its_worker(processes, scenes, tmp_path):
    processes.register_plugin(Tampering(poison=("S2_2", "B04")))
    with pytest.raises(PoisonTaskError, match="Workers ended") as raised:
        run(processes, scenes, tmp_path / "out")
    assert raised.value.code == "WorkerLost"
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_as_jobs_tell_it():
    error = evaluation._error_of(OSError(errno.ENOSPC, "No space left on device"))
    assert error.code == "StorageFailure"
    assert evaluation._error_of(KeyError("lost")).code == "Internal"
