"""Alerts and dashboard: their PromQL parses, and names metrics and labels that the code has."""

from __future__ import annotations

import json

import deployment
import promql_parser
import pytest
import requests
from distributed import LocalCluster
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from openeo_nc import metrics
from openeo_nc.jobs.census import STATUSES, Census
from openeo_nc.server.routes.metrics import _Jobs

FOLDER = deployment.DEPLOY / "monitoring"
ALERTS = deployment.document(FOLDER / "alerts.yaml")
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
OF_PROMETHEUS = {"job", "instance", "le"}
"""Labels that it gives itself, and that of buckets."""


def queries():
    """Every query, with what it is of."""
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in DASHBOARD["panels"]:
        for number, target in enumerate(panel.get("targets", [])):
            # Grafana's own variables, as it would fill them in
            text = target["expr"].replace("$__rate_interval", "1m")
            yield pytest.param(text, id=f"{panel['title']}-{number}")


QUERIES = list(queries())


@pytest.fixture(scope="module")
def exported():
    """Names of all samples with their labels, as pages of API, scheduler and worker have them."""
    found = {"up": set()}
    jobs = CollectorRegistry()
    jobs.register(_Jobs(Census(jobs=dict.fromkeys(STATUSES, 0), waiting_seconds=0.0, silent=0)))
    for registry in (REGISTRY, jobs):
        for family in registry.collect():
            add(found, family)
    # without samples until something is counted
    for one in (metrics.REQUESTS, metrics.REQUEST_SECONDS, metrics.RUNNERS_ENDED,
                metrics.DEVICE_SECONDS._counter):  # fmt: skip
        name, labels = one._name, set(one._labelnames)
        kinds = ("_total",) if type(one).__name__ == "Counter" else ("_bucket", "_sum", "_count")
        found |= {f"{name}{kind}": labels for kind in kinds}
    found["openeo_nc_device_memory_bytes"] = {"device", "kind"}
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        places = [
            cluster.scheduler.http_server.port,
            *(w.http_server.port for w in cluster.workers.values()),
        ]
        for port in places:
            page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
            for family in text_string_to_metric_families(page):
                add(found, family)
    return found


def add(found, family):
    for sample in family.samples:
        found.setdefault(sample.name, set()).update(sample.labels)


def selectors(node):
    """All vector selectors of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        below = getattr(node, part, None)
        if below is not None and not isinstance(below, str):
            yield from selectors(below)
    for below in getattr(node, "args", None) or []:
        yield from selectors(below)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_metrics_and_labels_that_are_there(query, exported):
    found = list(selectors(promql_parser.parse(query)))
    assert found
    for one in found:
        assert one.name in exported, one.name
        for matcher in one.matchers.matchers:
            assert matcher.name in exported[one.name] | OF_PROMETHEUS, (one.name, matcher.name)


def test_statuses_and_outcomes_of_queries_are_those_of_the_code(exported):
    from openeo_nc.jobs.dispatcher import _OUTCOMES

    known = {"openeo_nc_jobs": {*STATUSES}, "openeo_nc_device_seconds_total": {"cpu", "cuda"},
             "openeo_nc_runners_ended_total": {*_OUTCOMES.values(), "lost"}}  # fmt: skip
    for parameter in QUERIES:
        for one in selectors(promql_parser.parse(parameter.values[0])):
            for matcher in one.matchers.matchers:
                if one.name in known:
                    assert set(matcher.value.split("|")) <= known[one.name], matcher


def test_rules_for_the_operator_are_the_same():
    assert deployment.document(FOLDER / "rules.yaml")["spec"] == ALERTS


def test_alerts_say_how_bad_they_are_and_what_is_the_matter():
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    page = deployment.PAGE.read_text()
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["alert"] in page, "the operator's page does not explain it"


def test_panels_do_not_overlap_and_all_have_queries():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_metric_is_on_the_page():
    page = deployment.PAGE.read_text()
    for total in metrics.TOTALS:
        assert f"`{metrics.PREFIX}{total.name}_total`" in page, total.name
