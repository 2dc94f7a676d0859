"""The benchmark of UDFs at a tiny size: both ways give the same, and the table says so."""

from __future__ import annotations

import json

from click.testing import CliRunner

from openeo_nc.benchmarks import udf
from openeo_nc.cli import main


def test_report_and_table():
    command = ["bench", "udf", "--side", "16", "--dates", "2", "--chunks", "2", "--rounds", "3"]
    done = CliRunner().invoke(main, [*command, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    (row,) = report["rows"]
    assert row["same"]
    assert (row["bytes_in"], row["bytes_out"]) == (2 * 12 * 16 * 16 * 4, 2 * 10 * 16 * 16 * 4)
    assert len(row["ratios"]) == 3
    assert "2 x 12 x 16 x 16" in udf.table(report)
