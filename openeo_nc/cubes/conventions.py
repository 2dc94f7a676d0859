"""Group attributes that other software reads: the Zarr conventions proj:, spatial: and geoemb:.

Names, URLs and UUIDs are those of the conventions themselves; copies of their schemas are what
tests validate against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS

from openeo_nc.cubes.embedding_attributes import kind
from openeo_nc.cubes.grid import Bounds
from openeo_nc.cubes.payloads import ATTRIBUTE as PAYLOADS
from openeo_nc.cubes.scenes import ATTRIBUTE as SCENES

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard

PROJ = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
SPATIAL = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial:",
    "description": "Spatial coordinate information",
}
GEOEMB = {
    "schema_url": "https://raw.githubusercontent.com/geo-embeddings/embeddings-zarr-convention/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/geo-embeddings/embeddings-zarr-convention/blob/v1/README.md",
    "uuid": "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "name": "geoemb:",
    "description": "Geoembeddings convention for geospatial embedding arrays with model provenance",
}
GRID_MAPPING = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
"""CF attributes of an array; the second makes xarray give spatial_ref as a coordinate."""
SOURCE = "nc:source_data"
"""Attribute of a cube: URL of what it was loaded from."""


def spatial(crs: str, bounds: Bounds, shape: tuple[int, int]) -> dict[str, Any]:
    """proj: and spatial: attributes of a north-up grid of `shape` (y, x) within outer edges."""
    code = {"proj:code": crs} if crs.startswith("EPSG:") else {"proj:wkt2": crs}
    return {
        "zarr_conventions": [PROJ, SPATIAL],
        **code,
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(shape),
        "spatial:transform": affine(bounds, shape),
        "spatial:bbox": list(bounds),
        "spatial:registration": "pixel",
    }


def affine(bounds: Bounds, shape: tuple[int, int]) -> list[float]:
    """Affine transform from columns and rows to CRS units, six numbers, row by row."""
    left, bottom, right, top = bounds
    height, width = shape
    return [(right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top]


def embeddings(
    card: CodecCard, crs: str, dimensions: int, step: float, attrs: Mapping[str, Any], size: float
) -> dict[str, Any]:
    """geoemb: attributes of latents, int32 multiples of `step`, one vector each `size` CRS units."""
    patch = [card.stride, card.stride]
    distance = {"geoemb:gsd": size} if CRS.from_user_input(crs).is_projected else {}
    return {
        **distance,
        "zarr_conventions": [GEOEMB],
        "geoemb:type": kind(card.stride),
        "geoemb:dimensions": dimensions,
        "geoemb:model": model_urn(card),
        "geoemb:source_data": str(attrs.get(SOURCE, "urn:openeo_nc:source:not-stated")),
        "geoemb:data_type": "int32",
        "geoemb:chip_layout": {
            "layout_type": "regular_grid",
            "chip_size": patch,
            "stride": patch,
        },
        "geoemb:quantization": {
            "method": "linear",
            "original_dtype": "float32",
            "quantized_dtype": "int32",
            "scale": step,
            "offset": 0.0,
        },
    }


def model_urn(card: CodecCard) -> str:
    """A name for a codec with its weights that is the same wherever they lie."""
    digest = f":{card.weights_sha256}" if card.weights_sha256 else ""
    return f"urn:openeo_nc:codec:{card.codec_id}:{card.version}{digest}"


def plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes that JSON can hold, NumPy values as Python ones; our records are none of them."""
    simple = {str(n): _simple(v) for n, v in attrs.items() if n not in (PAYLOADS, SCENES)}
    return {name: value for name, value in simple.items() if value is not None}


def _simple(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):  # an object, or NaN, for which JSON has no word
        return None
