"""The benchmark of the tile store, on a scene of three tiles."""

from __future__ import annotations

import json

import numpy as np
import pytest

from openeo_nc.benchmarks import cache
from openeo_nc.errors import InvalidParameterError


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    rng = np.random.default_rng(0)
    height, width = cache.TILE, 3 * cache.TILE
    waves = (
        2000 + 800 * np.sin(np.arange(width) / 17)[None] * np.cos(np.arange(height) / 23)[:, None]
    )
    pixels = (waves + rng.integers(0, 60, (2, height, width))).astype("uint16")
    url = cache.write_scene(tmp_path_factory.mktemp("scene"), pixels, ("red", "nir"))
    return cache.run(
        str(url), bounds=cache.bounds_of(height, width), crs="EPSG:32631", bands=("red", "nir"),
        codec="klt-dct", rounds=1,
    )  # fmt: skip


def test_requests_find_nothing_all_and_half(report):
    assert {
        kind: (one["tiles"], one["hits"], one["misses"]) for kind, one in report["requests"].items()
    } == {"first": (2, 0, 2), "again": (2, 2, 0), "overlapping": (2, 1, 1)}


def test_the_report_is_json_and_a_table(report):
    assert json.loads(json.dumps(report))["identical"]
    shown = cache.table(report)
    assert [line.split()[0] for line in shown.splitlines()[2:]] == list(cache.KINDS)
    again = report["requests"]["again"]
    expected = report["requests"]["first"]["cpu_seconds"] / again["cpu_seconds"]
    assert again["cpu_ratio"] == pytest.approx(expected)


def test_rounds_there_must_be(tmp_path):
    with pytest.raises(InvalidParameterError):
        cache.run("x", bounds=(0, 0, 1, 1), crs="EPSG:4326", bands=None, rounds=0)
