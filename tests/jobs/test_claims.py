"""Claims: one runner a job, and none that was fenced off changes anything."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from openeo_nc import errors
from openeo_nc.jobs import claims, jobs
from openeo_nc.jobs.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
GRAPH = {"process_graph": {"one": {"process_id": "absolute", "arguments": {}, "result": True}}}
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RESULTS = [{"format": "GTIFF", "files": ["a.tif"], "bytes": 7, "details": {}}]


def queued(db, user="a"):
    return jobs.queue(db, user, jobs.create(db, user, {"process": GRAPH}).id)


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def test_the_job_that_waits_longest_is_claimed_first(db):
    first, second = queued(db), queued(db)
    jobs.create(db, "a", {"process": GRAPH})
    assert [claims.claim(db, "x").job_id for _ in range(2)] == [first.id, second.id]
    assert claims.claim(db, "x") is None
    job = jobs.get(db, "a", first.id)
    assert (job.status, job.token) == ("running", 1)
    assert job.started is not None


def test_a_silent_runner_loses_its_job_and_is_fenced_off(db):
    job = queued(db)
    old = claims.claim(db, "x", now=NOW, lease=30)
    assert claims.claim(db, "y", now=later(29)) is None
    assert claims.heartbeat(db, job.id, old.token, now=later(20), lease=30)
    assert claims.claim(db, "y", now=later(49)) is None
    new = claims.claim(db, "y", now=later(51))
    assert (new.job_id, new.token) == (job.id, old.token + 1)
    assert new.attempt != old.attempt
    before = jobs.get(db, "a", job.id)
    assert not claims.heartbeat(db, job.id, old.token)
    assert not claims.publish(db, job.id, old.token, RESULTS)
    assert not claims.fail(db, job.id, old.token, {"code": "x", "message": "y"})
    assert not claims.release(db, job.id, old.token)
    assert jobs.get(db, "a", job.id) == before
    assert claims.publish(db, job.id, new.token, RESULTS)
    assert str(jobs.results(db, "a", job.id).folder) == f"{job.id}/{new.attempt}"


def test_a_job_is_published_once(db):
    job = queued(db)
    mine = claims.claim(db, "x")
    usage = {"duration": {"value": 1.5, "unit": "seconds"}}
    assert claims.publish(db, job.id, mine.token, RESULTS, usage)
    assert not claims.publish(db, job.id, mine.token, [])
    assert not claims.heartbeat(db, job.id, mine.token)
    found = jobs.get(db, "a", job.id)
    assert (found.status, found.progress, found.usage) == ("finished", 100, usage)
    (result,) = jobs.results(db, "a", job.id).results
    assert (result.format, [str(f) for f in result.files], result.bytes) == ("GTIFF", ["a.tif"], 7)


def test_a_failed_job_tells_its_error(db):
    job = queued(db)
    mine = claims.claim(db, "x")
    assert claims.fail(db, job.id, mine.token, {"code": "NoDataAvailable", "message": "none"})
    assert jobs.get(db, "a", job.id).status == "error"
    with pytest.raises(errors.JobFailedError, match="none") as raised:
        jobs.results(db, "a", job.id)
    assert (raised.value.code, raised.value.http_status) == ("NoDataAvailable", 424)


@pytest.mark.parametrize("stop", [jobs.cancel, jobs.delete])
def test_a_stopped_job_is_not_published(db, stop):
    job = queued(db)
    mine = claims.claim(db, "x")
    stop(db, "a", job.id)
    assert not claims.heartbeat(db, job.id, mine.token)
    assert not claims.publish(db, job.id, mine.token, RESULTS)
    if stop is jobs.cancel:
        assert jobs.get(db, "a", job.id).status == "canceled"


def test_a_run_before_a_cancel_cannot_publish_after_the_job_was_queued_again(db):
    job = queued(db)
    old = claims.claim(db, "x")
    jobs.cancel(db, "a", job.id)
    jobs.queue(db, "a", job.id)
    assert not claims.publish(db, job.id, old.token, RESULTS)
    new = claims.claim(db, "x")
    assert not claims.publish(db, job.id, old.token, RESULTS)
    assert claims.publish(db, job.id, new.token, RESULTS)


def test_a_released_job_is_claimed_at_once(db):
    job = queued(db)
    mine = claims.claim(db, "x")
    assert claims.release(db, job.id, mine.token)
    assert claims.claim(db, "y").token == mine.token + 1


def test_a_job_that_loses_all_its_runners_ends_in_an_error(db):
    job = queued(db)
    for _ in range(3):
        mine = claims.claim(db, "x", max_claims=3)
        claims.release(db, job.id, mine.token)
    assert claims.claim(db, "x", max_claims=3) is None
    lost = {"code": "JobLost", "message": "lost"}
    assert claims.give_up(db, lost, max_claims=3) == [job.id]
    assert claims.give_up(db, lost, max_claims=3) == []
    assert jobs.get(db, "a", job.id).error == lost
    jobs.queue(db, "a", job.id)
    assert claims.claim(db, "x", max_claims=3).token == 4


def test_one_user_does_not_take_all_runners(db):
    mine = [queued(db) for _ in range(3)]
    theirs = queued(db, "b")
    taken = [claims.claim(db, "x", per_user=2) for _ in range(4)]
    assert [c and c.job_id for c in taken] == [mine[0].id, mine[1].id, theirs.id, None]
    claims.publish(db, mine[0].id, 1, RESULTS)
    assert claims.claim(db, "x", per_user=2).job_id == mine[2].id


def test_many_claimants_share_jobs_without_sharing_one(db, database_url):
    ids = [queued(db).id for _ in range(20)]

    def take(name):
        mine = Database.open(database_url, migrate=False)
        found = []
        while (one := claims.claim(mine, str(name))) is not None:
            found.append(one.job_id)
        mine.close()
        return found

    with ThreadPoolExecutor(4) as threads:
        taken = [job_id for found in threads.map(take, range(4)) for job_id in found]
    assert sorted(taken) == sorted(ids)


def test_claimants_at_once_leave_a_user_no_more_than_allowed(db, database_url):
    for _ in range(8):
        queued(db)

    def take(name):
        mine = Database.open(database_url, migrate=False)
        found = [claims.claim(mine, str(name), per_user=2) for _ in range(3)]
        mine.close()
        return sum(one is not None for one in found)

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(take, range(4))) == 2


def test_of_a_cancel_and_a_publish_at_once_one_holds(db, database_url):
    for _ in range(5):
        job = queued(db)
        mine = claims.claim(db, "x")
        with ThreadPoolExecutor(2) as threads:
            published = threads.submit(claims.publish, db, job.id, mine.token, RESULTS)
            threads.submit(jobs.cancel, db, "a", job.id).result()
        status = jobs.get(db, "a", job.id).status
        assert status == ("finished" if published.result() else "canceled")
