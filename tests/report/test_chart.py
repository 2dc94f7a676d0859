"""Charts with curves and with points that are none."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from openeo_nc.report.chart import Curve, chart


def test_points_have_no_line():
    drawn = chart(
        [
            Curve(title="a", points=[(0.1, 40), (0.2, 43)], own=True),
            Curve(title="tiles", points=[(0.1, 39), (0.3, 41), (0.2, 44)], own=True, line=False),
        ]
    )
    svg = ET.fromstring(drawn[: drawn.index("</svg>") + len("</svg>")])
    curve, cloud = (g for g in svg if g.tag == "g")
    assert [e.tag for e in curve] == ["polyline", "circle", "circle"]
    assert [e.tag for e in cloud] == ["circle"] * 3
    assert 'class="c1 cloud"' in drawn
