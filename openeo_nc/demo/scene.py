"""Writes the synthetic scene as Cloud Optimized GeoTIFFs with a STAC catalogue, as real data come.

Bands lie at their own 10, 20 and 60 m; numbers are those of Sentinel-2 L2A since baseline 04.00
(DN = reflectance x 10000 + 1000, 0 is no data). The place is open sea off West Africa, where no
such landscape is, so that nobody takes it for a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds

from openeo_nc.demo.landscape import (
    Landscape,
    Map,
    clouds,
    landscape,
    surface,
    under_clouds,
)
from openeo_nc.sentinel2 import BANDS, RESOLUTION

COLLECTION = "synthetic-sentinel-2-l2a"
NOTICE = "Synthetic: drawn by openeo-nc from a seed, not measured. No such landscape exists."
EPSG = 32631
HEIGHT, WIDTH = 660, 720
LEFT, TOP = 172920.0, 499020.0
"""Upper left corner in m: on the 60 m grid of all Sentinel-2 granules, inside a codec tile."""
SCALE, OFFSET_DN = 0.0001, 1000
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One date of the scene."""

    when: datetime
    """Time of the made-up overpass."""
    cover: float
    """Share of the scene under clouds, 0..1."""
    edge: float | None
    """Where the swath begins at the upper edge, in m from the left; None if all is covered."""


ACQUISITIONS = (
    Acquisition(when=datetime(2024, 5, 12, 10, 26, 1, tzinfo=UTC), cover=0.0, edge=None),
    Acquisition(when=datetime(2024, 7, 6, 10, 26, 3, tzinfo=UTC), cover=0.2, edge=None),
    Acquisition(when=datetime(2024, 9, 19, 10, 25, 58, tzinfo=UTC), cover=0.05, edge=900.0),
)


def bbox() -> tuple[float, float, float, float]:
    """West, south, east, north of the scene in degrees."""
    bounds = (LEFT, TOP - HEIGHT * 10, LEFT + WIDTH * 10, TOP)
    west, south, east, north = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", *bounds)
    return west, south, east, north


def extent() -> dict[str, float | int]:
    """The scene's extent as openEO's spatial_extent has it, exact in its own CRS."""
    return {
        "west": LEFT,
        "south": TOP - HEIGHT * 10,
        "east": LEFT + WIDTH * 10,
        "north": TOP,
        "crs": EPSG,
    }


def _coarsen(values: Map, factor: int) -> Map:
    """Means of `factor` x `factor` pixels, `(y, x)`."""
    height, width = values.shape
    blocks = values.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _seen(shape: tuple[int, int], resolution: int, edge: float | None) -> npt.NDArray[np.bool_]:
    """Pixels inside the swath, whose edge slants as the orbit does."""
    if edge is None:
        return np.ones(shape, dtype=bool)
    y, x = (np.indices(shape) + 0.5) * resolution
    return np.asarray(x >= edge - 0.13 * y, dtype=bool)


def _digital_numbers(reflectance: Map, resolution: int, acquisition: Acquisition, seed: int) -> Any:
    """`(y, x)` uint16 with sensor noise; 0 outside the swath."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(reflectance.shape) * (0.0006 + 0.003 * reflectance)
    numbers = np.rint((reflectance + noise) / SCALE) + OFFSET_DN
    height, width = reflectance.shape
    inside = _seen((height, width), resolution, acquisition.edge)
    return np.where(inside, np.clip(numbers, 1, 65535), 0).astype(np.uint16)


def _classification(land: Landscape, opacity: Map, shadow: Map, acquisition: Acquisition) -> Any:
    """Scene classification at 20 m in Sen2Cor's classes, `(y, x)` uint8."""
    water, cloud, dark, town = (
        _coarsen(m, 2) for m in (land.water, opacity, shadow, land.built + land.road)
    )
    classes = np.full(water.shape, 4, dtype=np.uint8)
    for value, where in ((5, town > 0.3), (6, water > 0.5), (3, dark > 0.3), (8, cloud > 0.1)):
        classes[where] = value
    classes[cloud > 0.5] = 9
    classes[~_seen((HEIGHT // 2, WIDTH // 2), 20, acquisition.edge)] = 0
    return classes


def _write_cog(path: Path, values: Any, resolution: int, name: str) -> None:
    profile = {
        "driver": "COG",
        "dtype": values.dtype,
        "count": 1,
        "height": values.shape[0],
        "width": values.shape[1],
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(resolution, 0, LEFT, 0, -resolution, TOP),
        "nodata": 0,
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 256,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)
        target.set_band_description(1, name)
        target.update_tags(NOTICE=NOTICE)


def _asset(path: Path, resolution: int, name: str, *, measured: bool) -> pystac.Asset:
    band: dict[str, Any] = {"nodata": 0, "spatial_resolution": resolution, "data_type": "uint8"}
    if measured:
        band |= {"data_type": "uint16", "scale": SCALE, "offset": -OFFSET_DN * SCALE}
    height, width = HEIGHT * 10 // resolution, WIDTH * 10 // resolution
    return pystac.Asset(
        href=str(path),
        title=f"{name} at {resolution} m (synthetic)",
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields={
            "gsd": resolution,
            "proj:shape": [height, width],
            "proj:transform": [resolution, 0, LEFT, 0, -resolution, TOP, 0, 0, 1],
            "raster:bands": [band],
            "eo:bands": [{"name": name}],
        },
    )


def _item(name: str, acquisition: Acquisition) -> pystac.Item:
    west, south, east, north = bbox()
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=acquisition.when,
        properties={
            "description": NOTICE,
            "proj:code": f"EPSG:{EPSG}",
            "eo:cloud_cover": round(100 * acquisition.cover, 1),
            "gsd": 10,
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        ],
    )


def _write_acquisition(folder: Path, index: int, land: Landscape) -> pystac.Item:
    acquisition = ACQUISITIONS[index]
    name = f"SYNTHETIC_{acquisition.when:%Y%m%d}_L2A"
    (folder / name).mkdir(parents=True)
    opacity, shadow = clouds(SEED * 100 + index, (HEIGHT, WIDTH), acquisition.cover)
    seen = under_clouds(surface(land, index, SEED), opacity, shadow, land.texture)
    item = _item(name, acquisition)
    for b, band in enumerate(BANDS):
        resolution, path = RESOLUTION[band], folder / name / f"{band}.tif"
        reflectance = _coarsen(seen[b], resolution // 10)
        seed = SEED * 1000 + index * 100 + b
        numbers = _digital_numbers(reflectance, resolution, acquisition, seed)
        _write_cog(path, numbers, resolution, band)
        item.add_asset(band, _asset(path, resolution, band, measured=True))
    classes = _classification(land, opacity, shadow, acquisition)
    _write_cog(folder / name / "SCL.tif", classes, 20, "SCL")
    item.add_asset("SCL", _asset(folder / name / "SCL.tif", 20, "SCL", measured=False))
    return item


def write_scene(folder: Path) -> Path:
    """Write the scene's COGs and its catalogue into a new folder.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.

    Returns
    -------
    Path of the collection's JSON, which `load_stac` opens.
    """
    root = folder.resolve() / COLLECTION
    land = landscape(SEED, (HEIGHT, WIDTH))
    items = [_write_acquisition(root, index, land) for index in range(len(ACQUISITIONS))]
    collection = pystac.Collection(
        id=COLLECTION,
        title="Synthetic Sentinel-2 L2A scene",
        description=NOTICE,
        license="Apache-2.0",
        extent=pystac.Extent(
            pystac.SpatialExtent([list(bbox())]),
            pystac.TemporalExtent([[ACQUISITIONS[0].when, ACQUISITIONS[-1].when]]),
        ),
    )
    collection.add_items(items)
    catalogue = pystac.Catalog(id="openeo-nc-demo", description=NOTICE)
    catalogue.add_child(collection)
    catalogue.normalize_hrefs(str(folder.resolve()))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return root / "collection.json"
