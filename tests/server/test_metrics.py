"""The server's metrics: read with their token only, true, and without names of users or jobs."""

from __future__ import annotations

import pytest
import requests
from live_server import USERS, serving
from prometheus_client.parser import text_string_to_metric_families

from openeo_nc.jobs import claims, jobs
from openeo_nc.jobs.database import Database
from openeo_nc.server.settings import Settings

TOKEN = "scrapes-only"
GRAPH = {
    "process_graph": {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, cluster):
    """URL of a server that has metrics."""
    settings = Settings(
        data=tmp_path_factory.mktemp("measured"), scheduler=cluster, metrics_token=TOKEN,
        development=True, users=USERS,
    )  # fmt: skip
    with serving(settings) as address:
        yield address


def page(place):
    """Samples of the page, by name and labels."""
    answer = requests.get(
        f"{place}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
    )
    assert answer.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def wait(holds, seconds=60):
    import time

    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it did not come to hold"
        time.sleep(0.1)


def test_only_who_has_the_token_reads_them(place):
    assert requests.get(f"{place}/metrics", timeout=30).status_code == 401
    for given in ("Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer ä"):
        headers = {"Authorization": given.encode()}
        answer = requests.get(f"{place}/metrics", headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (403, "TokenInvalid")


def test_a_server_without_a_token_has_no_metrics(url):
    answer = requests.get(f"{url}/metrics", timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")


def test_requests_are_counted_by_route_and_not_by_what_is_in_their_path(place):
    def count(method, route, status):
        labels = (("method", method), ("route", route), ("status", status))
        return page(place).get(("openeo_nc_requests_total", *labels), 0)

    before = count("GET", "/collections/{collection_id}", "404")
    for name in ("one", "two", "three"):
        requests.get(f"{place}/collections/{name}", timeout=30)
    assert count("GET", "/collections/{collection_id}", "404") == before + 3
    requests.get(f"{place}/nothing/here", timeout=30)
    assert count("GET", "none", "404") >= 1
    requests.request("FETCH-THIS", f"{place}/jobs", timeout=30)
    assert count("other", "/jobs", "405") >= 1
    assert not any("here" in str(key) or "FETCH" in str(key) for key in page(place))


def test_jobs_are_counted_as_they_are_in_the_database(place):
    log_in = requests.get(
        f"{place}/credentials/basic", auth=("ada", USERS["ada"]), timeout=30
    ).json()
    headers = {"Authorization": f"Bearer basic//{log_in['access_token']}"}
    before = page(place)
    made = requests.post(f"{place}/jobs", json={"process": GRAPH}, headers=headers, timeout=30)
    assert page(place)["openeo_nc_jobs", ("status", "created")] == 1
    requests.post(f"{made.headers['Location']}/results", headers=headers, timeout=30)
    wait(lambda: page(place)["openeo_nc_jobs", ("status", "created")] == 0)
    wait(
        lambda: (
            page(place).get(("openeo_nc_runners_ended_total", ("outcome", "ended")), 0)
            > before.get(("openeo_nc_runners_ended_total", ("outcome", "ended")), 0)
        )
    )
    after = page(place)
    assert (
        after["openeo_nc_jobs", ("status", "finished")]
        + after["openeo_nc_jobs", ("status", "error")]
        == 1
    )
    started = ("openeo_nc_runners_started_total",)
    assert after[started] == before[started] + 1
    assert after["openeo_nc_queue_age_seconds",] == 0


def test_the_queue_has_an_age_and_silent_runners_are_seen(place, tmp_path_factory):
    from datetime import UTC, datetime, timedelta

    from openeo_nc.jobs import census

    db = Database.open(f"sqlite:///{tmp_path_factory.mktemp('census') / 'jobs.sqlite'}")
    try:
        empty = census.take(db)
        assert (set(empty.jobs.values()), empty.waiting_seconds, empty.silent) == ({0}, 0, 0)
        for _ in range(3):
            jobs.queue(db, "a", jobs.create(db, "a", {"process": GRAPH}).id)
        claims.claim(db, "r", lease=30)
        later = datetime.now(UTC) + timedelta(seconds=100)
        found = census.take(db, now=later)
        assert (found.jobs["queued"], found.jobs["running"], found.silent) == (2, 1, 1)
        assert found.waiting_seconds == pytest.approx(100, abs=5)
        assert census.take(db).silent == 0
    finally:
        db.close()
