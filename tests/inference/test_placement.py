"""Where a resource is configured, coding tasks run on its workers only; saving keeps it so."""

from __future__ import annotations

import dask
import fakes
import pytest

from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.inference import placement
from openeo_nc.processes.save_result import save_result

CODING = ("encode", "decode")


@pytest.fixture
def codecs():
    with fakes.codecs_installed() as blocks:
        yield blocks


@pytest.fixture
def cluster():
    """Two workers in this process, one of which has the resource; gives the client."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    workers = {
        "plain": {"cls": Worker, "options": {"nthreads": 1}},
        "special": {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}},
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def test_nothing_is_asked_for_unless_configured(codecs):
    graph = compress_cube(fakes.cube(), "fake-rgb").__dask_graph__()
    assert not any((layer.annotations or {}) for layer in graph.layers.values())


def test_layers_ask_for_the_resource(codecs):
    with dask.config.set({placement.RESOURCE: "GPU"}):
        graph = compress_cube(fakes.cube(), "fake-rgb").__dask_graph__()
    asking = {
        name.split("-")[0]
        for name, layer in graph.layers.items()
        if (layer.annotations or {}).get("resources") == {"GPU": 1}
    }
    assert asking == {"encode", "decode"}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ZARR", "GTIFF"])
def test_saving_codes_on_workers_with_the_resource_only(codecs, cluster, tmp_path, form):
    where = []
    cluster.subscribe_topic("placed", lambda event: where.append(event[1]))

    def spy(dask_worker):
        original = dask_worker.execute

        async def execute(key, *, stimulus_id):
            dask_worker.log_event("placed", (str(key), dask_worker.name))
            return await original(key, stimulus_id=stimulus_id)

        dask_worker.execute = execute

    cluster.run(spy)
    with (
        dask.config.set({placement.RESOURCE: "GPU"}),
        output_folder(tmp_path / "out"),
    ):
        save_result(compress_cube(fakes.cube(), "fake-rgb"), form)
    coded = [name for key, name in where if any(f"{kind}-" in key for kind in CODING)]
    assert len(coded) >= 18
    assert set(coded) == {"special"}
    assert {name for _, name in where} == {"special", "plain"}
