"""Where there are workers with a device, networks run on these only, whatever optimises the graph."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import dask
import fake_models
import fakes
import numpy as np
import pytest
import stac_scenes as scenes
from dask._task_spec import Task, TaskRef
from granules import load, scene
from openeo_pg_parser_networkx.process_registry import Process

from openeo_nc import errors
from openeo_nc.codecs import registry
from openeo_nc.cubes import embed_kept, tile_store, tile_store_graph
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.tile_graph import cell, per_tile
from openeo_nc.graphs.registry import register
from openeo_nc.graphs.run import run_graph
from openeo_nc.inference import placement, scheduler_plugin
from openeo_nc.inference.placement import on_device
from openeo_nc.inference.spec import CodecSpec
from openeo_nc.models.registry import get_model_card
from openeo_nc.processes.save_result import save_result

SPEC = CodecSpec.of(registry.get_card("s2l2a-hyperprior"))
FOUR = threading.Barrier(4, timeout=10)
OPTIMISERS = {
    "fused": {},
    "unfused": {"optimization.fuse.active": False, "optimization.annotations.fuse": False},
}


@pytest.fixture
def ran(monkeypatch):
    """The fake codecs, registered; gives the list of (call, worker's name) of each use of one."""
    from distributed import get_worker

    found, lock = [], threading.Lock()
    with fakes.codecs_installed() as blocks:

        def note(what):
            try:
                name = get_worker().name
            except ValueError:
                name = None
            with lock:
                found.append((what, name))

        monkeypatch.setattr(blocks, "_count", note)
        yield found


@contextmanager
def cluster(**resources):
    """Workers in this process by name, and the resources of each; gives the client."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    workers = {
        name: {"cls": Worker, "options": {"nthreads": 1, "resources": given}}
        for name, given in resources.items()
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler) as running, Client(running) as client:
        client.wait_for_workers(len(workers))
        yield client


@pytest.fixture
def mixed():
    with cluster(plain={}, special={"GPU": 1}) as client:
        yield client


@pytest.fixture(params=OPTIMISERS)
def optimiser(request):
    with dask.config.set(OPTIMISERS[request.param]):
        yield request.param


def of_networks(ran):
    """Workers on which the codec ran; z of `pack` and the numbers of `unpack` are not told apart."""
    return {name for _, name in ran}


# --- where tasks run -------------------------------------------------------------------------------


def saved_through_xarray(cube, folder):
    dataset = compress_cube(cube, "fake-rgb").drop_attrs().to_dataset(name="pixels")
    dataset = dataset.drop_vars(["spatial_ref", "bands"]).chunk(
        {"t": 1, "bands": -1, "y": 40, "x": 36}
    )
    write = dataset.to_zarr(folder / "plain.zarr", compute=False, zarr_format=3, consolidated=False)
    write.compute()


def persisted(cube, folder):
    from distributed import wait

    (kept,) = dask.persist(compress_cube(cube, "fake-rgb") + 1)
    wait(kept)
    assert (kept == cube + 1).all().compute()


def embedded_and_decoded(cube, folder):
    decode_cube(encode_cube(cube, "fake-rgb")).mean().compute()


def saved_as_store_and_pictures(cube, folder):
    compressed = compress_cube(cube, "fake-rgb")
    with output_folder(folder / "out"):
        save_result(compressed, "ZARR")
        save_result(compressed, "GTIFF")
        save_result(compressed * 2, "NETCDF")


def a_process_graph(cube, folder):
    processes = register()
    processes["load_fake"] = Process(
        spec={"id": "load_fake", "parameters": []}, implementation=lambda: cube
    )
    graph = {
        "load": {"process_id": "load_fake", "arguments": {}},
        "code": {
            "process_id": "compress_cube",
            "arguments": {"data": {"from_node": "load"}, "codec": "fake-rgb"},
        },
        "save": {
            "process_id": "save_result",
            "arguments": {"data": {"from_node": "code"}, "format": "ZARR"},
            "result": True,
        },
    }
    run_graph(graph, folder / "run", registry=processes)


WAYS = (
    saved_through_xarray,
    persisted,
    embedded_and_decoded,
    saved_as_store_and_pictures,
    a_process_graph,
)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_networks_run_where_the_device_is(ran, mixed, optimiser, way, tmp_path):
    way(fakes.cube(), tmp_path)
    assert len(ran) >= 18
    assert of_networks(ran) == {"special"}


@pytest.mark.slow
def test_what_needs_no_network_runs_on_all_workers(ran, mixed):
    where = []
    mixed.subscribe_topic("ran", lambda event: where.append(event[1]))

    def read(block):
        from distributed import get_worker

        get_worker().log_event("ran", get_worker().name)
        time.sleep(0.05)  # so long that one worker cannot do all, however busy the machine is
        return block

    cube = fakes.cube(height=128, width=128, chunks=(1, 3, 16, 16))
    cube = cube.copy(data=cube.data.map_blocks(read, dtype=cube.dtype))
    cube.sum().compute()
    until(lambda: len(where) == 128)
    assert set(where) == {"plain", "special"}
    where.clear()
    compress_cube(cube, "fake-rgb").sum().compute()
    until(lambda: len(where) == 128)
    assert "plain" in where  # the other one runs networks, and reads when it happens to be free
    assert of_networks(ran) == {"special"}


def test_a_codec_without_network_runs_on_all_workers(mixed):
    with fakes.codecs_installed():
        graph = dict(compress_cube(fakes.cube(), "fake-any").__dask_graph__())
    assert not any(map(scheduler_plugin.wish_of, graph.values()))


@pytest.mark.slow
def test_without_a_device_networks_run_anywhere(ran):
    with cluster(one={}, other={}):
        compress_cube(fakes.cube(height=128), "fake-rgb").sum().compute()
    assert of_networks(ran) == {"one", "other"}


@pytest.mark.slow
def test_placement_can_be_turned_off(ran, mixed):
    with dask.config.set({placement.RESOURCE: "none"}):
        compress_cube(fakes.cube(height=128), "fake-rgb").sum().compute()
    assert of_networks(ran) == {"plain", "special"}


@pytest.mark.slow
def test_another_resource_may_be_named(ran):
    with (
        cluster(plain={"GPU": 1}, special={"NPU": 1}),
        dask.config.set({placement.RESOURCE: "NPU"}),
    ):
        compress_cube(fakes.cube(), "fake-rgb").sum().compute()
    assert of_networks(ran) == {"special"}


@pytest.mark.slow
def test_all_threads_of_a_worker_are_let_in():
    """Batches are made of what is there at once."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    options = {"nthreads": 4, "resources": {"GPU": 1}}
    workers = {"special": {"cls": Worker, "options": options}}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    pixels = fakes.cube(16, 64, dates=1, chunks=(1, 3, 16, 16)).data
    with SpecCluster(workers, scheduler) as running, Client(running):
        assert per_tile("encode", on_device(meet, SPEC), [pixels], ()).compute().size == 4


# --- models, loaded cubes, and the tile store -----------------------------------------------------


@pytest.fixture
def url(tmp_path):
    """A small granule on two dates."""
    items = [
        scene(tmp_path, "early", "2022-06-01T10:50:31Z"),
        scene(tmp_path, "late", "2022-06-06T10:50:31Z"),
    ]
    return str(scenes.write_collection(tmp_path / "collection", items))


@pytest.fixture
def embedded(monkeypatch):
    """The fake models, registered; gives the list of workers' names, one a call."""
    from distributed import get_worker

    found = []
    with fake_models.models_installed() as module:
        embed = module.Surroundings.embed

        def noting(self, *arguments, **more):
            found.append(get_worker().name)
            return embed(self, *arguments, **more)

        monkeypatch.setattr(module.Surroundings, "embed", noting)
        yield found


def of_codec(url):
    return payloads_of(compress_cube(load(url), "fake-rgb")).blocks


def of_model(url, model="fake-patches"):
    card = replace(get_model_card(model), source={"revision": "0" * 40})
    return embed_cube(load(url), card, quantization="int8").data


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fake-patches", "fake-chips"])
def test_models_run_where_the_device_is(embedded, mixed, optimiser, url, model):
    with tile_store.used(None):
        of_model(url, model).compute()
    assert set(embedded) == {"special"}


@pytest.mark.slow
def test_loaded_cubes_are_coded_where_the_device_is(ran, mixed, optimiser, url, tmp_path):
    with tile_store.used(None), output_folder(tmp_path / "out"):
        compressed = compress_cube(load(url), "fake-rgb")
        save_result(compressed, "ZARR")
        save_result(decode_cube(encode_cube(load(url), "fake-rgb")), "GTIFF")
    assert of_networks(ran) == {"special"}


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["evicted", "damaged"])
@pytest.mark.parametrize("made", [of_codec, of_model])
def test_tiles_that_left_the_store_are_made_where_the_device_is(
    ran, embedded, mixed, url, tmp_path, monkeypatch, made, harm
):
    """Also those that leave once a graph counts on them; those that are there need no device."""
    passed = []
    for module in (tile_store_graph, embed_kept):
        monkeypatch.setattr(module, "_hit", noting_worker(passed, module._hit))
    with tile_store.used(tmp_path / "tiles"):
        first = made(url).compute()
        assert of_networks(ran) | set(embedded) == {"special"}
        ran.clear(), embedded.clear()
        again = made(url)
        entries = sorted(path for path in (tmp_path / "tiles/entries").rglob("*") if path.is_file())
        harmed = entries[::2]
        for path in harmed:
            if harm == "evicted":
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:-1])
        found = again.compute()
        assert of_networks(ran) | set(embedded) == {"special"}
        assert len(embedded) + sum(what == "pack" for what, _ in ran) == len(harmed)
        np.testing.assert_array_equal(found, first)
        assert len(passed) == len(entries) - len(harmed)
        for _ in range(5):  # by chance all may run on one
            made(url).compute()
        assert set(passed) == {"plain", "special"}
        assert len(embedded) + sum(what == "pack" for what, _ in ran) == len(harmed)


def noting_worker(names, function):
    def noting(*arguments):
        from distributed import get_worker

        names.append(get_worker().name)
        return function(*arguments)

    return noting


# --- a device that is not there --------------------------------------------------------------------


@pytest.mark.slow
def test_a_demanded_device_that_nobody_has_is_an_error_at_once(ran):
    demanding = dask.config.set({placement.RESOURCE: "GPU"})
    nobody = pytest.raises(errors.ResourceUnavailableError, match="resource 'GPU'; none of the 1")
    with cluster(plain={}), demanding, nobody:
        compress_cube(fakes.cube(), "fake-rgb")
    assert not ran


@pytest.mark.slow
def test_a_graph_made_elsewhere_fails_too_instead_of_waiting(ran):
    with dask.config.set({placement.RESOURCE: "GPU"}):
        cube = compress_cube(fakes.cube(), "fake-rgb")
    with cluster(plain={}) as client:
        client.register_plugin(scheduler_plugin.Placement())
        future = client.compute(cube.sum())
        with pytest.raises(errors.ResourceUnavailableError, match="resource 'GPU'"):
            future.result(timeout=20)
    assert not ran


@pytest.mark.slow
@pytest.mark.parametrize("demanded", [False, True])
def test_the_last_worker_with_the_device_goes(ran, demanded, monkeypatch):
    monkeypatch.setattr(scheduler_plugin, "PATIENCE", 0.2)
    setting = {placement.RESOURCE: "GPU"} if demanded else {}
    with cluster(plain={}, special={"GPU": 1}) as client, dask.config.set(setting):
        cube = fakes.cube()
        slow = cube.copy(data=cube.data.map_blocks(slowly, dtype=cube.dtype))
        future = client.compute(compress_cube(slow, "fake-rgb").sum())
        (address,) = [
            address
            for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
            if worker["name"] == "special"
        ]
        client.retire_workers([address])
        if demanded:
            with pytest.raises(errors.ResourceUnavailableError):
                future.result(timeout=20)
        else:
            assert future.result(timeout=20) == cube.sum()
            assert "plain" in of_networks(ran)


def slowly(block):
    time.sleep(0.1)
    return block


def meet(block):
    FOUR.wait()
    return cell(block.sum())


def until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


# --- marks -----------------------------------------------------------------------------------------


def test_a_mark_is_small_and_survives_pickling_and_fusing():
    marked = on_device(len, SPEC)
    again = pickle.loads(pickle.dumps(marked))
    assert again("abc") == 3
    assert again.wish == placement.Wish(resource="GPU", demanded=False)
    assert len(pickle.dumps(marked)) < 300
    before, after = Task("a", int, "1"), Task("b", marked, TaskRef("a"))
    fused = Task.fuse(before, after)
    assert scheduler_plugin.wish_of(fused) == marked.wish
    assert scheduler_plugin.wish_of(before) is None


def test_a_scheduler_can_load_the_plugin_by_itself():
    added = []

    class Scheduler:
        def add_plugin(self, plugin, *, idempotent):
            added.append((plugin.name, idempotent))

    scheduler_plugin.dask_setup(Scheduler())
    assert added == [("openeo-nc-placement", True)]
