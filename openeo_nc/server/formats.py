"""The file formats that save_result writes: what clients choose from, and how results are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

_PREFIX = {
    "filename_prefix": {
        "type": "string",
        "description": "Beginning of the names of files.",
        "default": "result",
        "required": False,
    }
}


_QUANTIZATION = {
    "quantization": {
        "type": "string",
        "description": "How the vectors of an embedding cube become integers: `float32`, `int8`, "
        "`int8_power` or `binary`; default is what the cube was encoded with.",
        "required": False,
    }
}


@dataclass(frozen=True, kw_only=True)
class Format:
    """One output format."""

    name: str
    """As save_result takes it; upper and lower case are one."""
    title: str
    """For people."""
    description: str
    """What is in it, CommonMark."""
    types: tuple[str, ...]
    """openEO's kinds of data that it holds."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Options of save_result beyond `filename_prefix`."""

    def to_dict(self) -> dict[str, Any]:
        """As openEO's `/file_formats` has it."""
        return {
            "title": self.title,
            "description": self.description,
            "gis_data_types": list(self.types),
            "parameters": {**_PREFIX, **self.parameters},
        }


OUTPUT = (
    Format(
        name="ZARR",
        title="Zarr v3",
        description="One store of all dates and bands. Compressed cubes and embeddings keep their "
        "bitstreams; plain xarray decodes them where openeo_nc is installed. Downloads are the "
        "store in a ZIP file, which Zarr opens as it is.",
        types=("raster",),
        parameters={
            "self_contained": {
                "type": "boolean",
                "description": "Whether the store brings the decoder's card and weights.",
                "default": False,
                "required": False,
            },
            "shard_tiles": {
                "type": "integer",
                "description": "Tiles along a side of a shard, which is one object of the store.",
                "default": 4,
                "required": False,
            },
            **_QUANTIZATION,
        },
    ),
    Format(
        name="GTIFF",
        title="Cloud Optimized GeoTIFF",
        description="One file a date, bands as bands.",
        types=("raster",),
        parameters={
            "compression": {
                "type": "string",
                "description": "Compression of GDAL's driver.",
                "default": "DEFLATE",
                "required": False,
            },
            **_QUANTIZATION,
        },
    ),
    Format(
        name="PARQUET",
        title="GeoParquet",
        description="Embedding cubes: a row a patch with its geometry, date and vector; patches "
        "without data have no row. STAC lies beside it.",
        types=("raster",),
        parameters={
            **_QUANTIZATION,
            "geometry": {
                "type": "string",
                "description": "`polygon` for the patch, `point` for its centre.",
                "default": "polygon",
                "required": False,
            },
        },
    ),
    Format(
        name="GEOJSON",
        title="GeoJSON",
        description="What find_similar found: a feature a patch, with links to the items.",
        types=("vector",),
    ),
    Format(
        name="NETCDF",
        title="NetCDF-4",
        description="One file of all dates, a variable a band, after the CF conventions.",
        types=("raster",),
    ),
    Format(
        name="PNG",
        title="PNG picture",
        description="One picture a date, transparent where there is no data: one band in grey, or "
        "three as red, green and blue. Of more bands B04, B03 and B02 are shown unless others are "
        "named. For looking at: 8 bits, and no place on Earth.",
        types=("raster",),
        parameters={
            "red": {
                "type": "string",
                "description": "Band that is shown red; with `green` and `blue`.",
                "required": False,
            },
            "green": {
                "type": "string",
                "description": "Band that is shown green.",
                "required": False,
            },
            "blue": {
                "type": "string",
                "description": "Band that is shown blue.",
                "required": False,
            },
            "gray": {
                "type": "string",
                "description": "Band that is shown in shades of grey, alone.",
                "required": False,
            },
            "min": {
                "type": "number",
                "description": "Value that is shown black; default is a date's own 2nd percentile.",
                "required": False,
            },
            "max": {
                "type": "number",
                "description": "Value that is shown white; default is a date's own 98th percentile.",
                "required": False,
            },
        },
    ),
    Format(
        name="JSON",
        title="JSON",
        description="Numbers of a quality report.",
        types=("other",),
    ),
    Format(
        name="HTML",
        title="HTML page",
        description="A quality report with pictures, in one file.",
        types=("other",),
    ),
)

_MEDIA_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".nc": "application/netcdf",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
}


def media_type(path: PurePath) -> str:
    """The media type of a file by its name."""
    return _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
