"""What a search found as a vector cube: a patch a row, in degrees, and as GeoJSON."""

from __future__ import annotations

import json
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer

from openeo_nc.search.rows import Found, Origin, Places

LONLAT = "EPSG:4326"


def outlines(places: Places, origins: tuple[Origin, ...]) -> list[Any]:
    """The patch of each row as a polygon in degrees."""
    shapes = np.asarray(
        shapely.box(
            places.x - places.width / 2, places.y - places.height / 2,
            places.x + places.width / 2, places.y + places.height / 2,
        ), object,
    )  # fmt: skip
    for number, origin in enumerate(origins):
        rows = np.flatnonzero(places.origin == number)
        if len(rows) and origin.crs != LONLAT:
            transform = Transformer.from_crs(origin.crs, LONLAT, always_xy=True).transform
            shapes[rows] = shapely.transform(shapes[rows], transform, interleaved=False)
    return list(shapes)


def frame(found: Found) -> gpd.GeoDataFrame:
    """The vector cube of a search, the nearest first.

    Columns: `geometry` (the patch, degrees), `rank` from 1, `score` (cosine similarity, or distance
    with its sign changed), `time` (UTC without zone), `source` (link to the item), `model`.
    """
    places = found.places
    told = [found.origins[number] for number in places.origin]
    columns = {
        "rank": np.arange(1, len(places) + 1),
        "score": found.scores.astype(np.float64),
        "time": places.time.astype("datetime64[us]").astype("datetime64[ns]"),
        "source": pd.array([o.source or None for o in told], dtype="object"),
        "model": pd.array([o.model or None for o in told], dtype="object"),
    }
    return gpd.GeoDataFrame(
        pd.DataFrame(columns), geometry=outlines(places, found.origins), crs=LONLAT
    )


def geojson(found: gpd.GeoDataFrame) -> dict[str, Any]:
    """A GeoJSON FeatureCollection of a vector cube; features link to their items."""
    document = json.loads(found.drop(columns="time", errors="ignore").to_json(drop_id=True))
    document.pop("crs", None)  # GeoJSON's is longitude and latitude
    times = found["time"] if "time" in found else [pd.NaT] * len(found)
    for feature, moment in zip(document["features"], times, strict=True):
        properties = feature["properties"]
        properties["datetime"] = None if pd.isna(moment) else moment.isoformat() + "Z"
        if source := properties.get("source"):
            feature["links"] = [{"rel": "derived_from", "href": source}]
    return dict(document)
