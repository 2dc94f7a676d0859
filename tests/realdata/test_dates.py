"""What coding the Boadella series together saves; conservative thresholds below what was measured."""

from __future__ import annotations

import pytest

from openeo_nc.benchmarks import dates

pytestmark = pytest.mark.realdata


def test_clear_dates_of_boadella_are_cheaper_together(shared_data):
    series = shared_data / dates.SERIES
    report = dates.run(series, days=(32,), qualities=(5.0,), progress=False)
    (row,) = report["rows"]
    assert row["groups"] == (
        ("2020-01-13", "2020-01-28", "2020-02-02"),  # 2020-01-18 and 2020-01-23 are cloudy
        ("2021-07-16", "2021-07-21"),
    )
    assert row["grouped_ratio"] < 0.75
    assert row["ratio"] < 0.92
    assert row["psnr_together"] > row["psnr_alone"] - 0.05
    assert row["psnr_change_worst"] > -0.4
