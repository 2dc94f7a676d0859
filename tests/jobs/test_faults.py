"""What breaks while jobs run: pauses, workers, tiles, the database; and cancelling them."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from datetime import UTC, datetime, timedelta
from pathlib import Path

import faulty
import psutil
import pytest
from distributed import Client
from distributed.client import ClosedClientError
from served import free_port
from tampering import Tampering

from openeo_nc.cubes.stored import open_cube
from openeo_nc.errors import AssetMissingError, JobFailedError, SchedulerUnreachableError
from openeo_nc.jobs import claims, jobs, ledger, logs
from openeo_nc.jobs.faults import fault_of
from openeo_nc.server.scheduler import SchedulerConnection

pytestmark = pytest.mark.timeout(550)  # more than `ended` waits, twice


@pytest.fixture
def on(orders, cluster):
    """Orders of runners on the cluster."""
    return dataclasses.replace(orders, scheduler=cluster.scheduler_address)


def tasks(client):
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def until(holds, seconds=120):
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it did not come to hold"
        time.sleep(0.05)


def stopped(pid):
    """Whether a process is paused."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:  # it ended, which its exit status tells
        return False


def again(db, orders):
    return claims.claim(db, "test", now=datetime.now(UTC) + timedelta(seconds=60), lease=60)


def ended(process, timeout=400):
    process.join(timeout)
    assert process.exitcode is not None
    return process.exitcode


def test_a_runner_paused_past_its_lease_is_fenced_off(db, queued, claim, on, runners):
    old = runners(on, claim, faulty.paused_before_the_job_is_published)
    until(lambda: old.exitcode is not None or stopped(old.pid))
    assert old.exitcode is None
    assert ended(runners(on, again(db, on))) == 0
    published = jobs.results(db, "a", queued.id)
    log = logs.listed(db, "a", queued.id)
    os.kill(old.pid, signal.SIGCONT)
    assert ended(old) == 3
    assert jobs.results(db, "a", queued.id) == published
    assert published.folder.name == "attempt-2"
    assert logs.listed(db, "a", queued.id) == log
    assert set(ledger.attempts(db, queued.id).values()) == {1}  # nothing was computed twice


@pytest.mark.parametrize("count", [1, 2])
def test_workers_killed_mid_job_cost_no_result(
    db, queued, claim, on, runners, client, tamper, count
):
    tamper(seconds=0.3)
    runner = runners(on, claim)
    until(lambda: len(ledger.attempts(db, queued.id)) >= 1)
    for victim in list(client.run(os.getpid).values())[:count]:
        os.kill(victim, signal.SIGKILL)
    assert ended(runner) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"
    assert len(ledger.attempts(db, queued.id)) == 4


def test_a_scheduler_that_forgets_its_tasks_costs_an_attempt(
    db, queued, claim, on, runners, client, tamper
):
    tamper(seconds=0.5)
    runner = runners(on, claim)
    until(lambda: len(ledger.attempts(db, queued.id)) >= 1)
    client.restart(wait_for_workers=False)
    assert ended(runner) == 4
    assert jobs.get(db, "a", queued.id).status == "running"
    before = ledger.attempts(db, queued.id)
    assert 1 <= len(before) < 4
    (entry,) = logs.listed(db, "a", queued.id, level="warning")
    assert entry.code == "ClusterLost"
    assert ended(runners(on, again(db, on))) == 0
    after = ledger.attempts(db, queued.id)
    assert {name for name, token in after.items() if token == 1} == before.keys()


@pytest.fixture
def dask_process():
    """Starts processes of Dask, and ends them."""
    started = []

    def start(*command):
        arguments = [sys.executable, "-m", *command]
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.terminate()
    for process in started:
        process.wait(60)


def listens(port):
    """Whether something takes connections at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_scheduler_that_ends_is_replaced_by_another_at_its_address(
    db, queued, claim, orders, runners, dask_process
):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    command = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
               "--no-dashboard")  # fmt: skip
    worker = ("openeo_nc.cli", "worker", address, "--nthreads", "1", "--no-dashboard")
    on = dataclasses.replace(orders, scheduler=address)

    scheduler = dask_process(*command)
    dask_process(*worker)
    until(lambda: listens(port), 240)
    with Client(address, timeout=10, set_as_default=False) as client:
        client.register_plugin(Tampering(seconds=0.4))
        client.wait_for_workers(1, timeout=240)
        connection = SchedulerConnection(client, None)
        assert connection.answers()
        runner = runners(on, claim)
        until(lambda: len(ledger.attempts(db, queued.id)) >= 1, 240)
        scheduler.kill()
        assert ended(runner, 120) == 4
        before = ledger.attempts(db, queued.id)
        assert 1 <= len(before) < 4
        until(lambda: client.status == "closed")
    assert not connection.answers()

    dask_process(*command)
    dask_process(*worker)
    until(connection.answers, 120)
    connection.close()
    assert ended(runners(on, again(db, on)), 240) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"
    after = ledger.attempts(db, queued.id)
    assert {name for name, token in after.items() if token == 1} == before.keys()


@pytest.mark.parametrize("form", ["ZARR", "GTIFF", "NETCDF"])
def test_a_full_disk_ends_the_job_and_shows_no_result(
    db, process, on, runners, client, tamper, form
):
    tamper(full=True)
    graph = copy.deepcopy(process)
    graph["process_graph"]["save"]["arguments"]["format"] = form
    queued = jobs.queue(db, "a", jobs.create(db, "a", {"process": graph}).id)
    assert ended(runners(on, claims.claim(db, "test", lease=on.lease))) == 0
    assert jobs.get(db, "a", queued.id).error["code"] == "StorageFailure"
    with pytest.raises(JobFailedError, match="no space left"):
        jobs.results(db, "a", queued.id)


def test_cancelling_leaves_no_task_on_the_scheduler(db, queued, claim, on, runners, client, tamper):
    tamper(seconds=2)
    runner = runners(on, claim)
    until(lambda: tasks(client) > 0)
    assert jobs.cancel(db, "a", queued.id).status == "canceled"
    assert ended(runner, 15) == 3
    until(lambda: tasks(client) == 0, 15)
    assert jobs.get(db, "a", queued.id).status == "canceled"
    assert not list((Path(on.folder) / queued.id).glob("attempt-*/*.zarr"))


def test_a_job_that_takes_too_long_is_ended(db, queued, claim, on, runners, client, tamper):
    tamper(seconds=3)
    runner = runners(dataclasses.replace(on, job_seconds=1), claim)
    assert ended(runner) == 0
    assert jobs.get(db, "a", queued.id).error["code"] == "JobTimeExceeded"
    until(lambda: tasks(client) == 0, 15)


def test_a_runner_that_is_asked_to_end_leaves_its_job_to_the_next(
    db, queued, claim, on, runners, client, tamper
):
    tamper(seconds=1)
    runner = runners(on, claim)
    until(lambda: tasks(client) > 0)
    runner.terminate()
    assert ended(runner) == 4
    assert jobs.get(db, "a", queued.id).claims == 0  # it was no attempt that failed
    assert claims.claim(db, "next").token == 2


def test_a_scheduler_that_is_away_costs_no_attempts(db, queued, orders, on, runners):
    away = dataclasses.replace(orders, scheduler=f"tcp://127.0.0.1:{free_port()}")
    for _ in range(claims.MAX_CLAIMS + 1):
        began = datetime.now(UTC)
        assert ended(runners(away, again(db, away), faulty.impatient)) == 4
        job = jobs.get(db, "a", queued.id)
        assert (job.status, job.claims) == ("running", 0)
        assert claims.claim(db, "hasty", now=began + timedelta(seconds=1)) is None
    assert claims.give_up(db, {}, now=datetime.now(UTC) + timedelta(hours=1)) == []
    assert ended(runners(on, again(db, on))) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"


def test_a_runner_that_cannot_stop_leaves_its_job_as_it_is_to_be(db, queued, orders, runners):
    first = claims.claim(db, "test", lease=orders.lease)
    assert ended(runners(dataclasses.replace(orders, job_seconds=1), first, faulty.stuck)) == 0
    assert jobs.get(db, "a", queued.id).error["code"] == "JobTimeExceeded"


@pytest.fixture
def unforgiving(client):
    """A scheduler that gives a task one worker only, so that tests take less time."""
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    yield
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 3))


def test_a_tile_that_kills_its_worker_is_named(
    db, queued, claim, on, runners, client, tamper, unforgiving
):
    tamper(poison=("S2_2", "B04"))
    assert ended(runners(on, claim)) == 0
    job = jobs.get(db, "a", queued.id)
    assert (job.status, job.error["code"]) == ("error", "WorkerLost")
    assert "while they ran 'fetch_raster_window' of the chunk (date 2, row " in job.error["message"]
    assert " or " not in job.error["message"]
    assert logs.listed(db, "a", job.id, level="error")[0].message == job.error["message"]


@pytest.mark.parametrize("harm", ["broken_codec", "poison_codec", "poison"])
def test_a_tile_that_fails_is_no_data_if_that_was_asked_for(
    db, process, on, runners, client, tamper, unforgiving, harm
):
    tamper(**{harm: ("S2_2", "B04") if harm == "poison" else 2})
    document = {"process": process, "job_options": {"on_error": "nodata"}}
    job = jobs.queue(db, "a", jobs.create(db, "a", document).id)
    assert ended(runners(on, claims.claim(db, "test", lease=on.lease))) == 0
    assert jobs.get(db, "a", job.id).error is None
    found = jobs.results(db, "a", job.id)
    cube = open_cube(Path(on.folder) / found.folder / found.results[0].files[0])
    missing = cube.isnull().all(("y", "x")).values
    assert missing.any(axis=1).tolist() == [False, False, True, False]
    messages = [entry.message for entry in logs.listed(db, "a", job.id, level="warning")]
    named = "of item 'S2_2'" if harm == "poison" else "Tile (date 2"  # a chunk has all bands
    assert messages
    assert all(named in message for message in messages)


@pytest.fixture
def damaged(scenes):
    """One file of the scenes, cut short."""
    victim = scenes.parent / "S2_1" / "B04.tif"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:300])
    yield victim
    victim.write_bytes(whole)


def test_a_damaged_source_is_named(db, queued, claim, on, runners, damaged):
    assert ended(runners(on, claim)) == 0
    job = jobs.get(db, "a", queued.id)
    assert (job.status, job.error["code"]) == ("error", "AssetMissing")
    assert "'B04' of item 'S2_1'" in job.error["message"]


def test_a_damaged_source_is_no_data_if_that_was_asked_for(db, process, on, runners, damaged):
    document = {"process": process, "job_options": {"on_error": "nodata"}}
    job = jobs.queue(db, "a", jobs.create(db, "a", document).id)
    assert ended(runners(on, claims.claim(db, "test", lease=on.lease))) == 0
    found = jobs.results(db, "a", job.id)
    cube = open_cube(Path(on.folder) / found.folder / found.results[0].files[0])
    missing = cube.isnull().all(("y", "x")).values
    assert missing.tolist() == [[False, False], [True, False], [False, False], [False, False]]
    (entry,) = logs.listed(db, "a", job.id, level="warning")
    assert "'B04' of item 'S2_1'" in entry.message


def test_a_locked_database_is_waited_for(db, queued, claim, on, runners, tmp_path):
    holder = sqlite3.connect(
        tmp_path / "jobs.sqlite", isolation_level=None, check_same_thread=False
    )
    runner = runners(on, claim)
    until(lambda: len(logs.listed(db, "a", queued.id)) > 0)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(3, lambda: holder.execute("COMMIT")).start()
    assert ended(runner) == 0
    assert jobs.get(db, "a", queued.id).status == "finished"
    holder.close()


def test_what_exceptions_mean():
    assert not fault_of(AssetMissingError("gone")).again
    assert fault_of(ConnectionResetError("peer")).again
    away = fault_of(SchedulerUnreachableError("away"))
    assert (away.again, away.counts) == (True, False)
    for lost in (ClosedClientError(), CancelledError()):
        assert (fault_of(lost).code, fault_of(lost).again) == ("ClusterLost", True)
    full = fault_of(OSError(28, "No space left on device"))
    assert (full.code, full.again) == ("StorageFailure", False)
