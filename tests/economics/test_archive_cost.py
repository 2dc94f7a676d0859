"""The review's Table V from its inputs, and what a ratio changes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from openeo_nc.cli import main
from openeo_nc.economics.archive_cost import PETABYTE, REVIEW, Coder, Inputs, report, rows
from openeo_nc.economics.assumptions import Assumptions


def test_the_reviews_table():
    found = report([REVIEW], Inputs(), Assumptions())
    assert found["uncompressed"]["transfer_kwh"] == pytest.approx(1e6)  # 1 GWh
    assert found["uncompressed"]["egress_usd"] == pytest.approx(2e6)
    assert found["rows"][0]["coding_kwh"] == pytest.approx(10e3)  # 10 MWh
    assert found["rows"][0]["saved_kwh"] is None


def test_a_ratio_divides_the_transfer():
    coder = Coder(name="c", device="cpu", bytes_per_second=1e7, ratio=20, source="")
    (row,) = rows([coder], Inputs(processed=PETABYTE, downloaded=2 * PETABYTE), Assumptions())
    assert row.coding_seconds == pytest.approx(1e8)
    assert row.coding_kwh == pytest.approx(1e8 * 5 / 3.6e6)
    assert row.transfer_kwh == pytest.approx(2e6 * 0.01 / 20)
    assert row.egress_usd == pytest.approx(2e6 * 0.02 / 20)
    assert row.saved_usd == pytest.approx(2e6 * 0.02 * 0.95)
    assert row.saved_kwh == pytest.approx(2e6 * 0.01 * 0.95 - row.coding_kwh)


def test_pue_and_gpus_count():
    assumed = Assumptions(pue=1.5, gpu_watts=300)
    assert assumed.compute_kwh(gpu_seconds=3600) == pytest.approx(0.45)


def test_the_command_prints_what_it_assumes(tmp_path):
    picture = tmp_path / "cost.png"
    done = CliRunner().invoke(main, ["cost", "--out", str(picture)])
    assert done.exit_code == 0, done.output
    assert "1 GWh, 2 million USD" in done.output
    assert "transfer_kwh_per_gb 0.01" in done.output
    assert "measured on" in done.output
    review = next(line for line in done.output.splitlines() if line.startswith("review"))
    assert review.split()[-4:] == ["-", "10.0", "-", "-"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_takes_other_inputs():
    done = CliRunner().invoke(
        main, ["cost", "--json", "--downloaded", "50", "--kwh-per-gb", "0.02"]
    )
    found = json.loads(done.output)
    assert found["uncompressed"] == {
        "transfer_kwh": pytest.approx(1e6),
        "egress_usd": pytest.approx(1e6),
    }
    ours = next(row for row in found["rows"] if row["coder"]["name"].startswith("klt-dct"))
    assert ours["coder"]["device"] == "cpu"
    assert ours["saved_kwh"] > 0
