"""Small GeoTIFFs with known numbers and the STAC items that describe them, for tests of loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

CRS = "EPSG:32631"
LEFT, TOP = 600_000.0, 5_000_040.0


def write_tif(path, values, left, top, res, crs=CRS, nodata=0):
    """One GeoTIFF of `(bands, y, x)` or `(y, x)`; `res` is a number or (x, y)."""
    res_x, res_y = res if isinstance(res, tuple) else (res, res)
    values = values[None] if values.ndim == 2 else values
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, crs=crs, nodata=nodata,
        transform=from_origin(left, top, res_x, res_y), tiled=True, blockxsize=64, blockysize=64,
    ) as file:  # fmt: skip
        file.write(values)
    return path


def numbers(seed, height, width):
    """DN like Sentinel-2's, 1000 to 6000, smooth enough to interpolate."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    wave = 2000 + 800 * np.sin(rows / 7 + seed) + 600 * np.cos(columns / 9)
    return (wave + rng.integers(-100, 100, (height, width))).astype("uint16")


def asset(path, res, left=LEFT, top=TOP, shape=(60, 60), scale=0.0001, offset=-0.1, **more):
    """An asset with `raster:bands` and its own shape and transform."""
    res_x, res_y = res if isinstance(res, tuple) else (res, res)
    band = {"nodata": 0, "data_type": "uint16"}
    if scale is not None:
        band |= {"scale": scale, "offset": offset}
    return {
        "href": str(path),
        "type": "image/tiff; application=geotiff",
        "roles": ["data"],
        "proj:shape": list(shape),
        "proj:transform": [res_x, 0, left, 0, -res_y, top],
        "raster:bands": [band],
    } | more


def item(item_id, when, assets, crs=CRS, style="code", **properties):
    """A STAC Item; `style` says whether it has `proj:code` (1.1) or `proj:epsg` (1.0)."""
    first = next(iter(assets.values()))
    res_x, _, left, _, res_y, top = first["proj:transform"][:6]
    height, width = first["proj:shape"]
    box = (left, top + height * res_y, left + width * res_x, top)
    bbox = list(transform_bounds(crs, "EPSG:4326", *box))
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    stated = {"proj:code": crs} if style == "code" else {"proj:epsg": int(crs.split(":")[1])}
    return {
        "type": "Feature",
        "stac_version": "1.1.0" if style == "code" else "1.0.0",
        "id": item_id,
        "bbox": bbox,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": when} | stated | properties,
        "links": [],
        "assets": assets,
    }


def granule(folder, item_id, when, left=LEFT, top=TOP, crs=CRS, style="code", edge=0, **properties):
    """A Sentinel-2-like item: B04 at 10 m, B05 at 20 m, B01 at 60 m and SCL at 20 m.

    60 x 60 pixels at 10 m; the `edge` left columns (in 10 m pixels) hold no data.
    """
    assets = {}
    seed = sum(map(ord, item_id))
    for name, res in (("B04", 10), ("B05", 20), ("B01", 60), ("SCL", 20)):
        size = 600 // res
        values = numbers(seed + res, size, size)
        if name == "SCL":
            values = (values % 11 + 1).astype("uint8")
        values[:, : edge * 10 // res] = 0
        path = write_tif(Path(folder) / item_id / f"{name}.tif", values, left, top, res, crs)
        if name == "SCL":
            assets[name] = asset(path, res, left, top, (size, size), scale=None)
        else:
            assets[name] = asset(path, res, left, top, (size, size))
    return item(item_id, when, assets, crs, style, **properties)


def write_collection(folder, items, collection_id="scenes"):
    """A static Collection with its items in folders of their own, hrefs relative."""
    folder = Path(folder)
    links = []
    for one in items:
        path = folder / "items" / f"{one['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(one | {"collection": collection_id}))
        links.append(
            {"rel": "item", "href": f"./items/{one['id']}.json", "type": "application/geo+json"}
        )
    boxes = np.array([one["bbox"] for one in items])
    times = sorted(one["properties"]["datetime"] for one in items)
    document = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection_id,
        "description": "Scenes written by a test",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": links,
    }
    path = folder / "collection.json"
    path.write_text(json.dumps(document))
    return path


def write_items(path, items):
    """An ItemCollection file."""
    Path(path).write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path
