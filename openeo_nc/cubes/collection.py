"""Describes a collection as openEO does: what a cube of it will have, and where it is from.

STAC says little of cubes, so the bands are those of a first item, and dimensions are named as
`stac.load` names them. Only metadata are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo_nc.cubes.assets import band_names
from openeo_nc.cubes.catalogue import Json, read_json, some_items
from openeo_nc.cubes.dims import BANDS, T, X, Y
from openeo_nc.cubes.query import Query
from openeo_nc.errors import OpenEONCError

_WORLD = [-180.0, -90.0, 180.0, 90.0]
_KEPT_LINKS = {"license", "about", "cite-as", "describedby", "via", "source", "derived_from"}


def describe_collection(href: str) -> Json:
    """A collection with all that STAC and openEO require, `cube:dimensions` and `summaries`.

    Its links are those to descriptions and licences; links to items and parents are left out.

    Raises
    ------
    InvalidParameterError
        It cannot be read.
    """
    given = read_json(href)
    extent = _extent(given)
    bands = _bands(href)
    return {
        **{k: v for k, v in given.items() if k not in ("links", "assets")},
        "type": "Collection",
        "stac_version": given.get("stac_version", "1.0.0"),
        "stac_extensions": _extensions(given),
        "id": str(given.get("id")),
        "description": given.get("description") or str(given.get("id")),
        "license": given.get("license") or "other",
        "extent": extent,
        "links": [link for link in given.get("links", ()) if _keeps(link)],
        "cube:dimensions": _dimensions(extent, bands),
        "summaries": {**_summaries(given), "eo:bands": [{"name": name} for name in bands]},
    }


def _bands(href: str) -> list[str]:
    """Names of the bands of the first item; none if there is no item that can be read."""
    try:
        items = some_items(href, Query(), 1)
    except OpenEONCError:
        return []
    return band_names(items[0]) if items else []


def _extent(given: Mapping[str, Any]) -> Json:
    extent = given.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [_WORLD]
    spans = (extent.get("temporal") or {}).get("interval") or [[None, None]]
    return {"spatial": {"bbox": boxes}, "temporal": {"interval": spans}}


def _dimensions(extent: Json, bands: list[str]) -> Json:
    box = extent["spatial"]["bbox"][0]
    half = len(box) // 2  # 3 where boxes have heights
    dims: Json = {
        X: {"type": "spatial", "axis": "x", "extent": [box[0], box[half]]},
        Y: {"type": "spatial", "axis": "y", "extent": [box[1], box[half + 1]]},
        T: {"type": "temporal", "extent": extent["temporal"]["interval"][0]},
    }
    if bands:
        dims[BANDS] = {"type": "bands", "values": bands}
    return dims


def _summaries(given: Mapping[str, Any]) -> Json:
    """Those that are lists, ranges or schemas, as STAC has them."""
    found = given.get("summaries") or {}
    return {name: value for name, value in found.items() if isinstance(value, list | dict)}


def _extensions(given: Mapping[str, Any]) -> list[str]:
    cube = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"
    others = [one for one in given.get("stac_extensions") or () if "/datacube/" not in one]
    return [*others, cube]


def _keeps(link: Mapping[str, Any]) -> bool:
    href = str(link.get("href", ""))
    return link.get("rel") in _KEPT_LINKS and href.startswith(("https://", "http://"))
