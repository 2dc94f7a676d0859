"""The report page: complete, self-contained, nothing of the data is taken for markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
from markup import Balanced

from openeo_nc.demo.page import DatePictures, Pictures, render
from openeo_nc.report.chart import Curve, chart
from openeo_nc.report.html import size


def picture():
    return np.full((6, 8, 4), 120, np.uint8)


@pytest.fixture
def report():
    row = {"valid_share": 0.9, "bytes": 1234, "bpppb": 0.25, "ratio": 64.0, "psnr_db": 41.5}
    return {
        "title": "A <title>",
        "openeo_nc": "0.1.0",
        "notice": "Synthetic & said so",
        "codec": {"id": "klt-dct", "title": "Linear", "quality": 5.0},
        "cube": {"units": "reflectance"},
        "total": row | {"raw_bytes": 99999, "native_ratio": None, "psnr_db": None},
        "dates": [row | {"date": "2024-05-12"}],
        "rate_distortion": {
            "note": "One tile.",
            "curves": [
                {"name": "a", "title": "A", "own": True, "points": [
                    {"quality": 1, "bytes": 10, "bpppb": 0.1, "psnr_db": 40.0},
                    {"quality": 2, "bytes": 20, "bpppb": 0.2, "psnr_db": 43.0},
                ]},
            ],
        },
        "embedding": None,
        "timing": [{"step": "compress", "seconds": 1.25}],
        "machine": {"cpus": 2},
        "files": {"store": "compressed.zarr"},
    }  # fmt: skip


@pytest.fixture
def pictures():
    date = DatePictures(
        date="2024-05-12",
        original=picture(),
        reconstruction=picture(),
        error=picture(),
        embedding=None,
    )
    return Pictures(dates=[date], detail=(picture(), picture()), error_limit=0.02)


def test_page_is_balanced_and_self_contained(report, pictures):
    page = render(report, pictures, {"a.json": {"load": {"process_id": "load_stac"}}})
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "url(" not in page


def test_page_holds_what_the_report_says(report, pictures):
    page = render(report, pictures, {})
    for text in ("2024-05-12", "1,234", "0.250", "41.5 dB", "Synthetic &amp; said so", "1.2 s"):
        assert text in page
    assert "A &lt;title&gt;" in page
    assert "<title>A <" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_chart_puts_higher_quality_above_and_higher_rate_to_the_right():
    points = [(0.1, 38.0), (0.4, 44.0), (0.9, 50.0)]
    svg = chart([Curve(title="x", points=points, own=True)])
    (line,) = re.findall(r'<polyline points="([^"]+)"', svg)
    spots = [tuple(map(float, spot.split(","))) for spot in line.split()]
    assert [x for x, _ in spots] == sorted(x for x, _ in spots)
    assert [y for _, y in spots] == sorted((y for _, y in spots), reverse=True)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (34_214_400, "34.2 MB")],
)
def test_size(count, words):
    assert size(count) == words
