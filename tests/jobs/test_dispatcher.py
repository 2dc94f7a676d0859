"""Dispatchers: each job runs once, whoever starts it, and none is lost."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from openeo_nc.jobs import claims, jobs, logs
from openeo_nc.jobs.database import Database
from openeo_nc.jobs.dispatcher import Dispatcher, Limits
from openeo_nc.jobs.sweep import sweep

FAKE = (sys.executable, str(Path(__file__).with_name("fake_runner.py")))


@pytest.fixture
def dispatcher(db, database_url, tmp_path):
    """Makes dispatchers on databases of their own at one URL, and stops them."""
    made = []

    def make(*, environment=None, **limits):
        mine = Database.open(database_url, migrate=False)
        one = Dispatcher(
            db=mine, limits=Limits(**{"poll": 0.05, **limits}), scheduler_address=None,
            folder=tmp_path / "results", command=FAKE,
            environment={"RAN": str(tmp_path / "ran"), **(environment or {})},
        )  # fmt: skip
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()
        one.db.close()


def submit(db, process, count):
    return [jobs.queue(db, "a", jobs.create(db, "a", {"process": process}).id).id
            for _ in range(count)]  # fmt: skip


def until(holds, seconds=120):
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it did not come to hold"
        time.sleep(0.05)


def ran(tmp_path):
    path = tmp_path / "ran"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def statuses(db):
    return Counter(job.status for job in jobs.listed(db, "a"))


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_two_dispatchers_share_jobs(db, process, dispatcher, tmp_path):
    ids = submit(db, process, 6)
    dispatcher(running=2)
    dispatcher(running=2)
    until(lambda: statuses(db)["finished"] == len(ids))
    assert sorted(ran(tmp_path)) == sorted(ids)
    assert [jobs.get(db, "a", job_id).token for job_id in ids] == [1] * len(ids)


def test_a_crashed_runner_is_replaced_at_once(db, process, dispatcher, tmp_path):
    (job_id,) = submit(db, process, 1)
    dispatcher(environment={"CRASH": "1"}, lease=600)
    until(lambda: statuses(db)["finished"] == 1)
    assert ran(tmp_path) == [job_id, job_id]
    assert jobs.get(db, "a", job_id).token == 2
    messages = [entry.message for entry in logs.listed(db, "a", job_id)]
    assert messages == ["The runner of attempt 1 was lost (exit status -9)."]


def test_a_job_that_crashes_each_runner_ends_in_an_error(db, process, dispatcher):
    (job_id,) = submit(db, process, 1)
    dispatcher(environment={"CRASH": "1"}, max_claims=1)
    until(lambda: statuses(db)["error"] == 1)
    assert jobs.get(db, "a", job_id).error["code"] == "JobLost"
    assert logs.listed(db, "a", job_id, level="error")[0].code == "JobLost"


def test_a_stopped_dispatcher_leaves_its_jobs_to_be_claimed(db, process, dispatcher, tmp_path):
    (job_id,) = submit(db, process, 1)
    one = dispatcher(environment={"LINGER": "1"}, lease=600)
    until(lambda: ran(tmp_path) == [job_id])
    assert one.running() == 1
    one.stop()
    assert one.running() == 0
    assert claims.claim(db, "next").token == 2


def test_what_no_job_needs_is_swept(db, process, tmp_path):
    results = tmp_path / "results"
    kept, deleted = submit(db, process, 2)
    for _ in range(2):
        claims.claim(db, "x")
    others = "f00d/attempt-1"  # of another database: this one may be new, or old
    for path in (f"{kept}/attempt-1", f"{kept}/attempt-9", f"{deleted}/attempt-1", others):
        (results / path).mkdir(parents=True)
    sweep(db, results)
    assert len(list(results.glob("*/*"))) == 4  # both run
    claims.publish(db, kept, 1, [])
    jobs.delete(db, "a", deleted)
    sweep(db, results)
    left = {str(p.relative_to(results)) for p in results.glob("*/*")}
    assert left == {f"{kept}/attempt-1", others}
    assert not (results / deleted).exists()
