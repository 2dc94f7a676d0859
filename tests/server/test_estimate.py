"""Estimates, budgets and usage over HTTP, with the openEO client."""

from __future__ import annotations

import openeo
import pytest
import requests
from live_server import USERS, serving

from openeo_nc.server.settings import Settings

GRAPH = {
    "load": {
        "process_id": "load_collection",
        "arguments": {"id": "demo", "spatial_extent": None, "temporal_extent": None},
    },
    "compress": {
        "process_id": "compress_cube",
        "arguments": {"data": {"from_node": "load"}, "codec": "klt-dct", "quality": 3},
    },
    "save": {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "compress"}, "format": "ZARR"},
        "result": True,
    },
}


@pytest.fixture(scope="module")
def paid(cluster, tmp_path_factory):
    """A server that bills, and a client of it."""
    settings = Settings(
        data=tmp_path_factory.mktemp("paid"), scheduler=cluster, development=True, users=USERS,
        requests_per_minute=10**6, currency="EUR", price_core_hour=360, price_gb=1,
    )  # fmt: skip
    with serving(settings) as address:
        connected = openeo.connect(address).authenticate_basic("ada", USERS["ada"])
        yield connected
        connected.session.close()


def graph(connection):
    """The process graph, of the first collection that there is."""
    first = connection.list_collection_ids()[0]
    load = {**GRAPH["load"], "arguments": {**GRAPH["load"]["arguments"], "id": first}}
    return {**GRAPH, "load": load}


def test_the_client_gets_an_estimate_and_the_job_uses_about_that(paid):
    assert paid.capabilities().supports_endpoint("/jobs/{job_id}/estimate", method="GET")
    assert paid.capabilities().currency() == "EUR"
    job = paid.create_job(graph(paid), plan="usage")
    estimate = job.estimate()
    plan = estimate["plan"]
    assert estimate["duration"].startswith("PT")
    assert 0 < plan["output_bytes"]["low"] <= estimate["size"] <= plan["output_bytes"]["high"]
    seconds, size = plan["cpu_seconds"]["value"], plan["output_bytes"]["value"]
    assert estimate["costs"] == pytest.approx(seconds / 10 + size / 1e9, rel=1e-3)
    assert job.status() == "created"

    job.start_and_wait(print=lambda _: None, max_poll_interval=0.5)
    usage = job.describe()["usage"]
    assert usage["tiles_encoded"]["value"] == plan["tiles"]
    assert usage["input"]["value"] == pytest.approx(plan["source_bytes"], rel=1e-6)
    assert usage["pixels"]["value"] >= plan["samples"] / 4
    assert usage["cpu"]["value"] > 0
    assert usage["energy"]["unit"] == "kWh"
    assert "W a core" in usage["energy"]["assumption"]
    low, high = plan["output_bytes"]["low"], plan["output_bytes"]["high"]
    assert low < usage["transfer_compressed"]["value"] < high
    assert usage["transfer_uncompressed"]["value"] > usage["transfer_compressed"]["value"]
    assert any(entry["message"].startswith("Planned: ") for entry in job.logs())


def test_a_job_beyond_its_budget_is_not_started(paid):
    job = paid.create_job(graph(paid), budget=1e-9)
    with pytest.raises(openeo.rest.OpenEoApiError, match="budget is 1e-09") as caught:
        job.start()
    assert caught.value.code == "BudgetInvalid"
    assert job.status() == "created"


def test_unknown_billing_plans_are_refused(paid):
    with pytest.raises(openeo.rest.OpenEoApiError) as caught:
        paid.create_job(graph(paid), plan="gold")
    assert caught.value.code == "BillingPlanInvalid"


def test_nothing_is_billed_without_a_currency(connection, url):
    assert connection.capabilities().currency() is None
    job = connection.create_job(graph(connection), budget=0, plan="free")
    assert "costs" not in job.estimate()
    job.delete_job()


def test_estimates_are_the_users_own(connection, token, url):
    job = connection.create_job(graph(connection))
    answer = requests.get(f"{url}/jobs/{job.job_id}/estimate", headers=token("grace"), timeout=30)
    assert answer.json()["code"] == "JobNotFound"
    job.delete_job()


def test_a_graph_that_saves_nothing_has_no_estimate(connection, url, token):
    first = connection.list_collection_ids()[0]
    load = {**GRAPH["load"], "arguments": {**GRAPH["load"]["arguments"], "id": first}}
    job = connection.create_job({"load": {**load, "result": True}})
    with pytest.raises(openeo.rest.OpenEoApiError) as caught:
        job.estimate()
    assert caught.value.code == "ProcessGraphInvalid"
    job.delete_job()
