"""What the tile store saves: a request of which nothing, all, and half is there, to the saved store.

Each round starts with an empty tile store and does three requests, one after the other:

    first        nothing is there: read, encode, measure, keep, save
    again        the same request: all is there
    overlapping  of the same size, moved by half its width: half is there

A request is what a job does: items are looked up, the cube is loaded and compressed, and a store of it
is written. Ratios are of medians over all rounds, of CPU seconds of the whole process and of wall time.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from openeo_nc import metrics
from openeo_nc.cubes import stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.query import Query
from openeo_nc.cubes.store import write_store
from openeo_nc.errors import InvalidParameterError
from openeo_nc.tables import table as text_table

TILE = 384
"""Side of the tiles of scenes that are written here."""
EPSG = 32631
LEFT, TOP = 468_480.0, 5_003_520.0
"""Upper left corner of these scenes: that of a tile."""
KINDS = ("first", "again", "overlapping")
LEAST = 20.0
"""How many times cheaper the second request is to be."""


def run(
    url: str, *, bounds: tuple[float, float, float, float], crs: str, bands: Sequence[str] | None,
    codec: str = "auto", quality: float | None = None, rounds: int = 5, place: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The costs of requests, as JSON takes them.

    Parameters
    ----------
    bounds, crs
        Of the data: the first request is the west two thirds, the overlapping one the east two.
    place
        Where the tile store is, emptied each round; default a new folder.

    Raises
    ------
    InvalidParameterError
        There are no rounds.
    """
    if rounds < 1:
        raise InvalidParameterError(f"There must be a round at least; given {rounds}.")
    west, south, east, north = bounds
    third = (east - west) / 3
    extents = {
        "first": (west, south, east - third, north),
        "again": (west, south, east - third, north),
        "overlapping": (west + third, south, east, north),
    }
    found: list[dict[str, Any]] = []
    with _folder() as folder, dask.config.set(scheduler="threads", num_workers=1):
        for number in range(rounds + 1):  # the first loads codecs, and is left out
            tiles = place or str(folder / f"tiles-{number}")
            if place is not None:
                _emptied(place)
            with tile_store.used(tiles):
                for kind in KINDS:
                    out = folder / f"{kind}-{number}"
                    box = dict(zip(("west", "south", "east", "north"), extents[kind], strict=True))
                    one = _request(url, box | {"crs": crs}, bands, codec, quality, out)
                    if number:
                        found.append({"round": number, "kind": kind, **one})
            if not _same(folder / f"first-{number}", folder / f"again-{number}"):
                raise InvalidParameterError("The second request gave other bytes than the first.")
            for kind in KINDS:
                shutil.rmtree(folder / f"{kind}-{number}")
    return _report(found, codec, rounds)


def _request(
    url: str, box: Mapping[str, Any], bands: Sequence[str] | None, codec: str,
    quality: float | None, out: Path,
) -> dict[str, Any]:  # fmt: skip
    hits, misses = metrics.CACHE_HITS.value(), metrics.CACHE_MISSES.value()
    wall, cpu = time.perf_counter(), time.process_time()
    cube = stac.load(url, Query.of(dict(box), None, None), bands)
    report = write_store(compress_cube(cube, codec, quality), out)
    return {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "tiles": report.tiles,
        "hits": metrics.CACHE_HITS.value() - hits,
        "misses": metrics.CACHE_MISSES.value() - misses,
        "bytes": report.bytes,
    }


def _same(first: Path, again: Path) -> bool:
    """Whether the objects of two stores' arrays are the same bytes."""
    chunks = [
        {path.relative_to(root): path for path in root.glob("data/c/**/*") if path.is_file()}
        for root in (first, again)
    ]
    return chunks[0].keys() == chunks[1].keys() and all(
        path.read_bytes() == chunks[1][name].read_bytes() for name, path in chunks[0].items()
    )


def _emptied(place: str) -> None:
    shelf = tile_store.opened(tile_store.Spec.at(place)).shelf
    for one in list(shelf.list()):
        shelf.delete(one.path)


def _report(found: Sequence[Mapping[str, Any]], codec: str, rounds: int) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        own = [one for one in found if one["kind"] == kind]
        kinds[kind] = {
            name: statistics.median(one[name] for one in own)
            for name in ("cpu_seconds", "wall_seconds", "tiles", "hits", "misses", "bytes")
        }
    first = kinds["first"]
    for one in kinds.values():
        for unit in ("cpu", "wall"):
            one[f"{unit}_ratio"] = first[f"{unit}_seconds"] / one[f"{unit}_seconds"]
    return {
        "codec": codec,
        "rounds": rounds,
        "identical": True,
        "goal": LEAST,
        "reached": min(kinds["again"]["cpu_ratio"], kinds["again"]["wall_ratio"]) >= LEAST,
        "requests": kinds,
        "runs": list(found),
    }


def table(report: Mapping[str, Any]) -> str:
    """The requests, one a line."""
    rows = [
        (
            kind, f"{one['tiles']:.0f}", f"{one['hits']:.0f}", f"{one['cpu_seconds']:.3f}",
            f"{one['wall_seconds']:.3f}", f"{one['cpu_ratio']:.1f}", f"{one['wall_ratio']:.1f}",
        )
        for kind, one in report["requests"].items()
    ]  # fmt: skip
    head = ("request", "tiles", "were there", "CPU s", "wall s", "CPU times cheaper", "wall")
    return text_table(head, rows)


def write_scene(folder: Path, pixels: npt.NDArray[np.uint16], bands: Sequence[str]) -> Path:
    """Write a scene's bands as GeoTIFFs with an Item; its corner is that of a tile.

    Parameters
    ----------
    folder
        A folder that is there.
    pixels
        `(bands, y, x)` uint16, reflectance x 10000; 0 is no data.

    Returns
    -------
    Path of the Item.
    """
    _, height, width = pixels.shape
    place = from_origin(LEFT, TOP, 10, 10)
    bbox = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", *bounds_of(height, width))
    assets = {}
    for band, values in zip(bands, pixels, strict=True):
        path = folder / f"{band}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=height, width=width, dtype="uint16",
            crs=f"EPSG:{EPSG}", transform=place, nodata=0, tiled=True, blockxsize=256,
            blockysize=256, compress="DEFLATE", predictor=2,
        ) as file:  # fmt: skip
            file.write(values, 1)
        assets[band] = {
            "href": str(path),
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "proj:shape": [height, width],
            "proj:transform": list(place)[:6],
            "raster:bands": [{"nodata": 0, "scale": 0.0001, "offset": 0}],
        }
    item = {
        "type": "Feature", "stac_version": "1.1.0", "id": "scene", "bbox": list(bbox),
        "geometry": None, "links": [], "assets": assets,
        "properties": {
            "datetime": "2024-06-01T10:00:00Z", "updated": "2024-06-02T00:00:00Z",
            "proj:code": f"EPSG:{EPSG}",
        },
    }  # fmt: skip
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def bounds_of(height: int, width: int) -> tuple[float, float, float, float]:
    """`(left, bottom, right, top)` of a scene of `write_scene`."""
    return LEFT, TOP - 10 * height, LEFT + 10 * width, TOP


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="openeo-nc-") as folder:
        yield Path(folder)
