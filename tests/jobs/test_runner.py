"""Runners on a cluster of processes, killed at each point where they write."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask
import faulty
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.stored import open_cube
from openeo_nc.graphs.run import run_graph
from openeo_nc.jobs import claims, jobs, ledger, logs

SHARDS = {("result.zarr", f"data/c/{n}/0/0/0") for n in range(4)}


@pytest.fixture
def on(orders, cluster):
    """Orders of runners on the cluster."""
    return dataclasses.replace(orders, scheduler=cluster.scheduler_address)


@pytest.fixture(scope="module")
def expected(process, environment, tmp_path_factory):
    """The values that the job is to give."""
    out = tmp_path_factory.mktemp("expected") / "out"
    with dask.config.set(scheduler="synchronous"), pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        run_graph(process, out)
        return open_cube(out / "result.zarr").values


def again(db, orders):
    """The next claim, once the lease is over."""
    return claims.claim(db, "test", now=datetime.now(UTC) + timedelta(seconds=60), lease=60)


def ended(process, timeout=120):
    process.join(timeout)
    assert process.exitcode is not None
    return process.exitcode


def store_of(db, job, orders):
    found = jobs.results(db, "a", job.id)
    (result,) = found.results
    return Path(orders.folder) / found.folder / result.files[0]


def test_a_job_runs_to_its_results(db, queued, claim, on, expected, runners):
    assert ended(runners(on, claim)) == 0
    job = jobs.get(db, "a", queued.id)
    assert (job.status, job.progress, job.error) == ("finished", 100, None)
    np.testing.assert_array_equal(open_cube(store_of(db, queued, on)).values, expected)
    assert job.usage["cpu"]["value"] > 0
    assert job.usage["duration"]["value"] > 0
    assert job.usage["storage"]["value"] == jobs.results(db, "a", job.id).results[0].bytes
    first, planned, last = [entry.message for entry in logs.listed(db, "a", job.id)]
    assert (first, last) == ("The job starts.", "The job is finished.")
    assert planned.startswith("Planned: ")
    assert ledger.attempts(db, job.id) == dict.fromkeys(SHARDS, 1)


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
    db, queued, claim, on, expected, runners, fault, computed_again
):
    assert ended(runners(on, claim, fault)) == -9
    assert jobs.get(db, "a", queued.id).status == "running"
    with pytest.raises(errors.JobNotFinishedError):
        jobs.results(db, "a", queued.id)
    before = ledger.attempts(db, queued.id)
    if computed_again is None:
        assert 1 <= len(before) < len(SHARDS)
        computed_again = SHARDS - before.keys()

    assert ended(runners(on, again(db, on))) == 0
    assert jobs.get(db, "a", queued.id).error is None
    assert jobs.get(db, "a", queued.id).status == "finished"
    after = ledger.attempts(db, queued.id)
    assert {name for name, token in after.items() if token == 2} == computed_again
    assert after.keys() == SHARDS
    store = store_of(db, queued, on)
    np.testing.assert_array_equal(open_cube(store).values, expected)
    first = Path(on.folder) / queued.id / "attempt-1"
    for _, key in SHARDS - computed_again:  # the very files of the first attempt
        (old,) = (found for found in first.rglob("0") if str(found).endswith(key))
        assert (store / key).samefile(old)


def test_a_runner_killed_after_it_published_is_not_repeated(db, queued, claim, on, runners):
    assert ended(runners(on, claim, faulty.after_the_job_is_published)) == -9
    assert jobs.get(db, "a", queued.id).status == "finished"
    assert again(db, on) is None
    assert store_of(db, queued, on).is_dir()
