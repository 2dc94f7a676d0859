"""bench load: a small run counts jobs and answers; every request is answered."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from openeo_nc.benchmarks import load
from openeo_nc.cli import main


@pytest.mark.timeout(550)
def test_a_small_run_over_http():
    asked = [
        "--clients",
        "3",
        "--queued",
        "4",
        "--running",
        "1",
        "--pause",
        "0.1",
        "--seconds",
        "2",
    ]
    ran = CliRunner().invoke(main, ["bench", "load", *asked, "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    polled = report["polled"]
    assert polled["failed"] == 0
    assert polled["requests"] >= 3
    assert 0 < polled["median_ms"] <= polled["p95_ms"] <= polled["slowest_ms"]
    assert sum(polled["before"].values()) == 5
    assert polled["before"].get("running", 0) <= 1  # a job may end before they are counted
    assert "median ms" in load.table(report)
