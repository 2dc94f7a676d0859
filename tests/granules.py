"""Small granules side by side, and cubes loaded of parts of them: what tile stores are tested with."""

from __future__ import annotations

from pathlib import Path

import stac_scenes as scenes

from openeo_nc.cubes import stac
from openeo_nc.cubes.query import Query

SIDE = 60
"""Pixels of a granule's side."""
LEFT, TOP = scenes.LEFT, scenes.TOP
BANDS = ("B02", "B03", "B04")


def scene(folder, name, when, column=0, edge=0, **properties):
    """An item of 60 x 60 pixels, `column` scenes east of the first; `edge` columns are no data."""
    assets, left = {}, LEFT + column * SIDE * 10
    for number, band in enumerate(BANDS):
        values = scenes.numbers(sum(map(ord, name)) + number, SIDE, SIDE)
        values[:, :edge] = 0
        path = scenes.write_tif(Path(folder) / name / f"{band}.tif", values, left, TOP, 10)
        assets[band] = scenes.asset(path, 10, left, shape=(SIDE, SIDE), scale=None)
    return scenes.item(name, when, assets, **{"updated": "2022-07-01T00:00:00Z", **properties})


def load(url, west=0, south=SIDE, east=SIDE, north=0, bands=BANDS, **options):
    """Pixels from `west` to `east` and `north` to `south` of the first granule's corner."""
    box = {
        "west": LEFT + 10 * west, "east": LEFT + 10 * east, "north": TOP - 10 * north,
        "south": TOP - 10 * south, "crs": 32631,
    }  # fmt: skip
    return stac.load(url, Query.of(box, None, None), bands, **options)


def forbidden(*_args, **_more):
    """In place of reading pixels where none may be read."""
    raise AssertionError("pixels were read")
