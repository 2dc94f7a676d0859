"""Counters: in this process, in the spans of Dask tasks, and on the page of a Dask worker."""

from __future__ import annotations

import pytest
import requests
from distributed import Client, LocalCluster, span
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from openeo_nc import metrics
from openeo_nc.cubes.ledger import file_written


def sample(page, name, **labels):
    """Value of a sample on a page of Prometheus's text."""
    for family in text_string_to_metric_families(page):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return one.value
    return None


def work(i):
    """A task that encodes a tile, decodes one of two and uses a device."""
    from openeo_nc import metrics

    metrics.encoded(1000, 10 + i)
    if i % 2:
        metrics.decoded(10, 1000)
    metrics.DEVICE_SECONDS.add(0.5, "cuda")
    return i


@pytest.fixture(scope="module")
def client():
    """A Dask client with two real worker processes."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as connected,
    ):
        yield connected


def test_tasks_of_a_span_are_summed_over_workers_and_told_from_others(client):
    with span("job-1"):
        client.gather(client.map(work, range(10), key="one"))
    with span("job-2"):
        client.gather(client.map(work, range(4), key="two"))
    assert metrics.of_span(client, "job-1") == {
        "tiles_encoded": 10, "pixel_bytes_encoded": 10_000,
        "payload_bytes_encoded": 10 * 10 + sum(range(10)),
        "tiles_decoded": 5, "payload_bytes_decoded": 50, "pixel_bytes_decoded": 5000,
        "device_seconds_cuda": 5.0,
    }  # fmt: skip
    assert metrics.of_span(client, "job-2")["tiles_encoded"] == 4
    assert metrics.of_span(client, "job-3") == {}


def test_the_page_of_a_worker_shows_what_it_did(client):
    before = pages(client)
    client.gather(client.map(work, range(6), key="three"))
    after = pages(client)

    def grown(name, **labels):
        return sum(
            sample(new, name, **labels) - (sample(old, name, **labels) or 0)
            for old, new in zip(before, after, strict=True)
        )

    assert grown("openeo_nc_tiles_encoded_total") == 6
    assert grown("openeo_nc_payload_bytes_encoded_total") == 60 + sum(range(6))
    assert grown("openeo_nc_device_seconds_total", device="cuda") == 3.0


def pages(client):
    """The metrics of each worker, over HTTP."""
    client.run(lambda: __import__("openeo_nc.metrics"))  # as `openeo-nc worker` does at its start
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    places = sorted(f"http://{one['host']}:{one['services']['dashboard']}" for one in workers)
    return [requests.get(f"{place}/metrics", timeout=30).text for place in places]


def test_sums_grow_without_dask_too():
    before = metrics.CACHE_HITS.value(), metrics.DEVICE_SECONDS.value("cpu")
    metrics.CACHE_HITS.add(3)
    with metrics.busy("cpu:0"):
        pass
    assert metrics.CACHE_HITS.value() == before[0] + 3
    assert metrics.DEVICE_SECONDS.value("cpu") > before[1]


def test_every_total_has_a_name_and_a_unit_of_its_own():
    names = [total.name for total in metrics.TOTALS]
    assert len(set(names)) == len(names)
    assert all(total.unit for total in metrics.TOTALS)


def test_tiles_wait_while_the_block_lasts():
    depth = "openeo_nc_inference_queue_depth"
    before = REGISTRY.get_sample_value(depth)
    with pytest.raises(ValueError, match="lost"), metrics.waiting(3):
        assert REGISTRY.get_sample_value(depth) == before + 3
        raise ValueError("lost")
    assert REGISTRY.get_sample_value(depth) == before


def test_results_count_with_their_bytes(tmp_path):
    (tmp_path / "a.tif").write_bytes(bytes(1234))
    before = metrics.RESULT_BYTES_WRITTEN.value()
    file_written(tmp_path / "a.tif", "mark")
    assert metrics.RESULT_BYTES_WRITTEN.value() == before + 1234
