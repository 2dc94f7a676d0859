"""Jobs whose results go to object storage, which fails at times: an S3 server on this machine."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import dask
import faulty
import numpy as np
import pytest
import rasterio
import xarray as xr
from distributed import LocalCluster
from object_storage import URL, storage

from openeo_nc.cubes.places import place_of
from openeo_nc.cubes.stored import open_cube
from openeo_nc.graphs.run import run_graph
from openeo_nc.jobs import claims, jobs, ledger, logs
from openeo_nc.jobs.sweep import sweep

pytest.importorskip("moto.server", reason="moto, a server of S3, is not installed")

SHARDS = {("result.zarr", f"data/c/{n}/0/0/0") for n in range(4)}


@pytest.fixture(scope="module")
def s3():
    """Object storage, and this process's access to it."""
    with storage() as opened, pytest.MonkeyPatch.context() as patched:
        for name, value in opened.environment.items():
            patched.setenv(name, value)
        yield opened


@pytest.fixture(autouse=True)
def well(s3):
    """Storage that answers until a test has it fail."""
    s3.reset()
    yield
    s3.reset()


@pytest.fixture(scope="module")
def cluster(s3):
    """A cluster whose workers have access to it."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as started:
        yield started


@pytest.fixture
def on(orders, cluster):
    """Orders of runners that write to it."""
    return dataclasses.replace(orders, folder=URL, scheduler=cluster.scheduler_address)


@pytest.fixture
def run(runners, on, s3):
    """Runs a claimed job to its end; gives the exit status."""

    def ran(claim, fault=faulty.as_it_is, orders=on):
        process = runners(orders, claim, fault, s3.environment)
        process.join(300)
        assert process.exitcode is not None
        return process.exitcode

    return ran


@pytest.fixture(scope="module")
def expected(process, environment, tmp_path_factory):
    """The values that the job is to give."""
    out = tmp_path_factory.mktemp("expected") / "out"
    with dask.config.set(scheduler="synchronous"), pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        run_graph(process, out)
        return open_cube(out / "result.zarr").values


def again(db):
    """The next claim, once the lease is over."""
    return claims.claim(db, "test", now=datetime.now(UTC) + timedelta(seconds=60), lease=60)


def result_of(db, job):
    found = jobs.results(db, "a", job.id)
    return [place_of(URL) / found.folder / file for one in found.results for file in one.files]


def fetched(place, folder):
    """A store as a folder."""
    for one in place.rglob():
        path = folder / one.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.read_bytes())
    return folder / place.key


def written(s3):
    """Shards that were sent to the storage, and shards that it copied by itself."""
    shards = [(path.split("/result.zarr/")[1], copied) for method, path, copied, failed in s3.asked
              if method == "PUT" and "/data/c/" in path and not failed]  # fmt: skip
    return (
        {key for key, copied in shards if not copied},
        {key for key, copied in shards if copied},
    )


def test_a_job_writes_its_store_to_object_storage(db, queued, claim, run, expected, tmp_path):
    assert run(claim) == 0
    assert jobs.get(db, "a", queued.id).error is None
    (store,) = result_of(db, queued)
    np.testing.assert_array_equal(open_cube(fetched(store, tmp_path)).values, expected)
    stored = sum(one.stat().st_size for one in store.rglob())
    assert jobs.results(db, "a", queued.id).results[0].bytes == stored


@pytest.mark.parametrize(
    ("fault", "computed_again"),
    [
        (faulty.before_any_shard, SHARDS),
        (faulty.before_a_shard_is_recorded, SHARDS),
        (faulty.after_a_shard_is_recorded, None),
        (faulty.before_the_job_is_published, set()),
    ],
)
def test_a_killed_runner_costs_what_the_ledger_lacks(
    db, queued, claim, run, s3, expected, tmp_path, fault, computed_again
):
    assert run(claim, fault) == -9
    assert jobs.get(db, "a", queued.id).status == "running"
    if computed_again is None:
        computed_again = SHARDS - ledger.attempts(db, queued.id).keys()
        assert len(computed_again) < len(SHARDS)
    s3.reset()
    assert run(again(db)) == 0
    sent, copied = written(s3)
    assert sent == {key for _, key in computed_again}
    assert copied == {key for _, key in SHARDS - computed_again}
    (store,) = result_of(db, queued)
    np.testing.assert_array_equal(open_cube(fetched(store, tmp_path)).values, expected)
    sweep(db, place_of(URL))
    assert [path.name for path in (place_of(URL) / queued.id).iterdir()] == ["attempt-2"]
    jobs.delete(db, "a", queued.id)
    sweep(db, place_of(URL))
    assert not (place_of(URL) / queued.id).exists()


def test_storage_that_answers_503_twice_costs_nothing(db, queued, claim, run, s3):
    s3.fails_twice()
    assert run(claim) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"
    assert sum(failed for *_, failed in s3.asked) > 8
    assert set(ledger.attempts(db, queued.id).values()) == {1}


def test_slow_storage_is_waited_for(db, queued, claim, run, s3):
    s3.delay = 0.3
    assert run(claim) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"


def test_storage_that_always_fails_is_tried_again_and_then_the_jobs_error(
    db, queued, claim, run, on, s3
):
    s3.failing = lambda method, path: method == "PUT"
    assert run(claim) == 4
    assert jobs.get(db, "a", queued.id).status == "running"
    (entry,) = logs.listed(db, "a", queued.id, level="warning")
    assert entry.code == "StorageUnavailable"
    assert run(again(db), orders=dataclasses.replace(on, max_claims=2)) == 0
    job = jobs.get(db, "a", queued.id)
    assert (job.status, job.error["code"]) == ("error", "StorageUnavailable")
    assert "127.0.0.1" not in job.error["message"]
    s3.reset()
    assert not list((place_of(URL) / queued.id).rglob())


def saved_as(process, form):
    graph = process["process_graph"]
    save = {**graph["save"], "arguments": {**graph["save"]["arguments"], "format": form}}
    return {"process_graph": {**graph, "save": save}}


@pytest.mark.parametrize("form", ["GTIFF", "NETCDF"])
def test_files_are_gathered_whole(db, process, on, run, expected, form):
    job = jobs.queue(db, "a", jobs.create(db, "a", {"process": saved_as(process, form)}).id)
    claim = claims.claim(db, "test", lease=on.lease)
    assert run(claim, faulty.before_the_job_is_published) == -9
    assert run(again(db)) == 0
    assert set(ledger.attempts(db, job.id).values()) == {1}
    places = result_of(db, job)
    if form == "GTIFF":
        values = []
        for place in places:
            with place.open() as file, rasterio.open(file) as raster:
                values.append(raster.read())
        found = np.stack(values)
    else:
        with places[0].open() as file, xr.open_dataset(file, engine="h5netcdf") as cube:
            found = np.stack([cube["B04"].values, cube["B05"].values], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    names = {path.name for path in (place_of(URL) / job.id / "attempt-2").iterdir()}
    assert names == {place.name for place in places}
