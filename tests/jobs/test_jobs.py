"""Jobs as their users see them."""

from __future__ import annotations

import pytest

from openeo_nc import errors
from openeo_nc.jobs import jobs, logs

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
GRAPH = {"process_graph": {"one": {"process_id": "absolute", "arguments": {}, "result": True}}}
OTHER = {"process_graph": {"two": {"process_id": "add", "arguments": {}, "result": True}}}


def made(db, user="a", **fields):
    return jobs.create(db, user, {"process": GRAPH} | fields)


def test_a_job_is_what_was_posted(db):
    job = made(db, title="T", description="D", plan="free", budget=3, log_level="warning",
               job_options={"on_error": "nodata"})  # fmt: skip
    assert job == jobs.get(db, "a", job.id)
    assert (job.title, job.description, job.plan, job.budget) == ("T", "D", "free", 3.0)
    assert (job.status, job.progress, job.token, job.log_level) == ("created", 0, 0, "warning")
    assert job.process == GRAPH
    assert job.options == {"on_error": "nodata"}
    assert job.created == job.updated
    assert job.created.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, errors.ProcessGraphMissingError),
        ({"process": {}}, errors.ProcessGraphMissingError),
        ({"process": {"process_graph": []}}, errors.ProcessGraphMissingError),
        ({"process": None}, errors.ProcessGraphMissingError),
        ({"process": GRAPH, "title": 1}, errors.InvalidParameterError),
        ({"process": GRAPH, "budget": "much"}, errors.InvalidParameterError),
        ({"process": GRAPH, "budget": -1}, errors.InvalidParameterError),
        ({"process": GRAPH, "log_level": "loud"}, errors.InvalidParameterError),
        ({"process": GRAPH, "log_level": ["debug"]}, errors.InvalidParameterError),
        ({"process": GRAPH, "job_options": {"on_error": "shrug"}}, errors.InvalidParameterError),
    ],
)
def test_what_is_no_job_is_a_typed_error(db, document, error):
    with pytest.raises(error):
        jobs.create(db, "a", document)
    assert jobs.listed(db, "a") == []


def test_lists_are_of_one_user_newest_first_and_paged(db):
    mine = [made(db).id for _ in range(3)]
    made(db, "b")
    assert [job.id for job in jobs.listed(db, "a")] == mine[::-1]
    assert [job.id for job in jobs.listed(db, "a", 2, 1)] == mine[::-1][1:3]


def test_another_users_job_is_not_found(db):
    job = made(db)
    for function in (jobs.get, jobs.delete, jobs.queue, jobs.cancel, jobs.results, logs.listed):
        with pytest.raises(errors.JobNotFoundError):
            function(db, "b", job.id)
    with pytest.raises(errors.JobNotFoundError):
        jobs.update(db, "b", job.id, {"title": "mine"})
    assert jobs.get(db, "a", job.id) == job


def test_a_limit_of_jobs(db):
    made(db)
    with pytest.raises(errors.JobLimitError):
        jobs.create(db, "a", {"process": GRAPH}, limit=1)
    jobs.create(db, "b", {"process": GRAPH}, limit=1)


def test_changes(db):
    job = made(db, title="T")
    changed = jobs.update(db, "a", job.id, {"title": None, "process": OTHER, "id": "x"})
    assert (changed.title, changed.process, changed.id) == (None, OTHER, job.id)
    assert changed.updated > job.updated
    with pytest.raises(errors.NoDataForUpdateError):
        jobs.update(db, "a", job.id, {"status": "finished"})


def test_a_queued_job_is_locked(db):
    job = made(db)
    assert jobs.queue(db, "a", job.id).status == "queued"
    with pytest.raises(errors.JobLockedError):
        jobs.update(db, "a", job.id, {"title": "T"})
    again = jobs.queue(db, "a", job.id)
    assert again == jobs.get(db, "a", job.id)
    assert jobs.cancel(db, "a", job.id).status == "created"
    jobs.update(db, "a", job.id, {"title": "T"})


def test_cancelling_what_does_not_run_changes_nothing(db):
    job = made(db)
    assert jobs.cancel(db, "a", job.id) == job


def test_a_deleted_job_is_gone_with_its_log(db):
    job = made(db)
    logs.add(db, job.id, "info", "hello")
    jobs.delete(db, "a", job.id)
    with pytest.raises(errors.JobNotFoundError):
        jobs.get(db, "a", job.id)
    logs.add(db, job.id, "info", "nobody hears")


def test_no_results_before_the_end(db):
    job = made(db)
    with pytest.raises(errors.JobNotFinishedError):
        jobs.results(db, "a", job.id)


# --- logs ----------------------------------------------------------------------------------------


def test_logs_grow_and_are_read_from_an_offset(db):
    job = made(db)
    for n in range(4):
        logs.add(db, job.id, "info", f"entry {n}", data={"n": n})
    first, *rest = logs.listed(db, "a", job.id)
    assert (first.message, first.data, first.level) == ("entry 0", {"n": 0}, "info")
    assert logs.listed(db, "a", job.id, first.id) == rest
    assert logs.listed(db, "a", job.id, first.id, 1) == rest[:1]


def test_levels(db):
    job = made(db)
    for level in ("debug", "info", "warning", "error"):
        logs.add(db, job.id, level, level)
    # the job itself asks for info and more
    assert [e.level for e in logs.listed(db, "a", job.id)] == ["info", "warning", "error"]
    assert [e.level for e in logs.listed(db, "a", job.id, level="error")] == ["error"]
    with pytest.raises(errors.InvalidParameterError):
        logs.listed(db, "a", job.id, level="loud")
    for offset in ("x", "-1", "9" * 30, "²"):
        with pytest.raises(errors.InvalidParameterError):
            logs.listed(db, "a", job.id, offset)
