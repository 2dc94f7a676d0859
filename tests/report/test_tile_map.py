"""Maps of tiles: a rectangle a tile, dark and light at their ends, numbers where they fit."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from openeo_nc.report.pictures import heat
from openeo_nc.report.tile_map import tile_map


def rectangles(svg):
    return [e for e in ET.fromstring(svg) if e.tag == "rect"]


def test_every_tile_has_its_place_and_colour():
    values = {(0, 0): 30.0, (0, 1): 40.0, (1, 0): None, (1, 1): 35.0}
    svg = tile_map(values, (40.0, 30.0), "{:.1f}")
    found = rectangles(svg)
    side = int(found[0].get("width"))
    assert [(int(e.get("y")) // side, int(e.get("x")) // side) for e in found] == list(values)
    assert [e[0].text.split(": ")[1] for e in found] == ["30.0", "40.0", "none", "35.0"]
    assert found[2].get("class") == "none"
    light, dark = (tuple(map(int, re.findall(r"\d+", found[i].get("fill")))) for i in (0, 1))
    assert sum(light) > 600
    assert sum(dark) < 30
    assert light == tuple(round(c) for c in (heat(1.0) * 255).tolist())


def test_equal_tiles_and_many_tiles():
    same = tile_map({(0, 0): 1.0, (0, 1): 1.0}, (1.0, 1.0), "{:.0f}")
    assert len({e.get("fill") for e in rectangles(same)}) == 1
    many = tile_map({(0, n): float(n) for n in range(60)}, (0.0, 59.0), "{:.0f}")
    assert "<text" not in many
    assert "<text" in same
