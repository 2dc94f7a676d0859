"""Reads what STAC says about the bands of an item: where, on which grid, in which numbers.

Old and new STAC are read alike: `proj:epsg` and `proj:code`; `eo:bands` with `raster:bands` and
the `bands` of STAC 1.1; fields of an asset before those of its item. Nothing is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import rasterio.errors
from pyproj import CRS
from pyproj.exceptions import CRSError

from openeo_nc.cubes.dims import crs_name
from openeo_nc.cubes.grid import Bounds
from openeo_nc.errors import (
    AssetMissingError,
    GridMismatchError,
    InvalidParameterError,
    OpenEONCError,
)

RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/x.geotiff", "image/jp2")
RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")
PICTURES = {"thumbnail", "overview", "visual", "preview"}
"""Roles and keys of assets that show the data and are not the data."""
CLASS_ROLES = {"cloud", "cloud-shadow", "snow-ice", "land-water", "water-mask", "data-mask"}
CLASS_KEYS = ("scl", "fmask", "qa_", "bqa", "msk_")
"""Roles and beginnings of keys of assets that hold classes; they are never interpolated."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One band of one item."""

    item: str
    """Id of the item, for messages."""
    key: str
    """Key of the asset in the item."""
    href: str
    """Absolute URL or path."""
    band: int
    """Number of the band in the file, from 1."""
    crs: str | None
    """`EPSG:n` or WKT, None if the metadata do not say."""
    transform: tuple[float, float, float, float] | None
    """`(left, res_x, top, res_y)` with both resolutions positive; None if not said."""
    bounds: Bounds | None
    """Bounds in `crs`; None if not said."""
    scale: float
    """Physical value = number * scale + offset."""
    offset: float
    """See scale."""
    scaled: bool
    """Whether the metadata state a scale or an offset."""
    nodata: float | None
    """The number of no data; None if the metadata do not say (the file may)."""
    classes: bool
    """Whether the numbers are classes or bit fields, which must not be interpolated."""
    number_bytes: float | None = None
    """Bytes of a number, uncompressed; None if the metadata do not say."""
    stored_bytes: float | None = None
    """Bytes of a number in the file, on average (`file:size`); None if the metadata do not say."""

    @property
    def resolution(self) -> float:
        """Pixel width, infinite if not said; the smaller the finer."""
        return float("inf") if self.transform is None else self.transform[1]


def band_names(item: Mapping[str, Any]) -> list[str]:
    """Names of all bands of an item that are data, in the order of its assets."""
    names: list[str] = []
    for key, asset in _rasters(item).items():
        if _is_picture(key, asset):
            continue
        bands = _bands(asset)
        names += [key] if len(bands) < 2 else [b.get("name") or f"{key}_{i}" for i, b in bands]
    return list(dict.fromkeys(names))


def find_asset(item: Mapping[str, Any], name: str) -> Asset:
    """The band of an item that a name stands for.

    A name is, in this order, the key of an asset, the name of a band, or its common name. Of
    several the finest is taken, assets of a single band before others, and GeoTIFF before JP2.

    Raises
    ------
    AssetMissingError
        The item has no such band; the message says which it has.
    InvalidParameterError
        The name is that of an asset with several bands, or the asset's metadata are not STAC's.
    """
    ranked: list[tuple[tuple[int, bool, float, bool], Asset]] = []
    for key, asset in _rasters(item).items():
        bands = _bands(asset)
        if key == name and len(bands) > 1:
            raise InvalidParameterError(
                f"The asset '{key}' of item '{item.get('id')}' has several bands; name one of "
                f"{', '.join(str(b.get('name')) for _, b in bands)}."
            )
        for number, band in bands:
            common = band.get("eo:common_name", band.get("common_name"))
            tier = 0 if key == name else 1 if band.get("name") == name else 2
            if tier == 2 and common != name:
                continue
            if tier > 0 and _is_picture(key, asset):
                continue
            try:
                found = _read(item, key, asset, number, band)
            except OpenEONCError:
                raise
            except (TypeError, ValueError, IndexError) as error:
                raise InvalidParameterError(
                    f"The metadata of the asset '{key}' of item '{item.get('id')}' are not those "
                    f"of STAC: {error}."
                ) from error
            is_jp2 = str(asset.get("type", "")).startswith("image/jp2")
            ranked.append(((tier, len(bands) > 1, found.resolution, is_jp2), found))
    if not ranked:
        available = ", ".join(band_names(item)) or ", ".join(item.get("assets") or {}) or "none"
        raise AssetMissingError(
            f"The item '{item.get('id')}' has no asset or band '{name}'. It has: {available}."
        )
    return min(ranked, key=lambda pair: pair[0])[1]


def _rasters(item: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {k: a for k, a in (item.get("assets") or {}).items() if _is_raster(a)}


def _is_raster(asset: Mapping[str, Any]) -> bool:
    if not asset.get("href"):
        return False
    if kind := str(asset.get("type") or ""):
        return kind.startswith(RASTER_TYPES)
    return str(asset.get("href", "")).lower().split("?")[0].endswith(RASTER_SUFFIXES)


def _is_picture(key: str, asset: Mapping[str, Any]) -> bool:
    return bool(PICTURES & {key.lower(), *(asset.get("roles") or ())})


def _bands(asset: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """`(number from 1, merged metadata)` of the bands; a single nameless one if none is said."""
    named = [asset.get(name) or [] for name in ("bands", "eo:bands", "raster:bands")]
    # Before STAC 0.9, `eo:bands` held numbers that pointed into the collection.
    groups = [[b if isinstance(b, Mapping) else {} for b in group] for group in named]
    merged: list[tuple[int, dict[str, Any]]] = []
    for i in range(max(1, *map(len, groups))):
        band: dict[str, Any] = {}
        for group in groups:
            band = {**(group[i] if i < len(group) else {}), **band}
        merged.append((i + 1, band))
    return merged


def _read(
    item: Mapping[str, Any], key: str, asset: Mapping[str, Any], number: int, band: dict[str, Any]
) -> Asset:
    properties = item.get("properties") or {}
    fields = {**properties, **asset, **band}
    raster_scale = fields.get("raster:scale", band.get("scale"))
    raster_offset = fields.get("raster:offset", band.get("offset"))
    offset = float(raster_offset or 0.0)
    if _offset_was_applied(properties):
        offset = 0.0
    found = Asset(
        item=str(item.get("id")),
        key=key,
        href=str(asset["href"]),
        band=number,
        crs=_crs(item, {**properties, **asset}),
        transform=None,
        bounds=None,
        scale=1.0 if raster_scale is None else float(raster_scale),
        offset=offset,
        scaled=raster_scale is not None or raster_offset is not None,
        nodata=_nodata(fields.get("nodata")),
        classes=_holds_classes(key, asset, band),
        number_bytes=_number_bytes(fields.get("data_type")),
        stored_bytes=_stored_bytes(asset, fields.get("proj:shape")),
    )
    return _placed(found, properties, asset)


def _number_bytes(dtype: Any) -> float | None:
    """Bytes of a number of a `data_type`, as STAC names them."""
    bits = re.fullmatch(r"c?u?(?:int|float)(\d+)", str(dtype))
    return None if bits is None else int(bits[1]) / 8


def _stored_bytes(asset: Mapping[str, Any], shape: Any) -> float | None:
    """Bytes of a file by its numbers, if both are stated."""
    size = asset.get("file:size")
    if not isinstance(size, int) or not isinstance(shape, list) or len(shape) != 2:
        return None
    numbers = shape[0] * shape[1] * len(_bands(asset))
    return size / numbers if numbers > 0 else None


def _offset_was_applied(properties: Mapping[str, Any]) -> bool:
    """Earth Search removes the baseline 04.00 offset from its files, yet still states it."""
    return any(
        properties.get(f"{p}:boa_offset_applied") is True for p in ("earthsearch", "sentinel")
    )


def _placed(found: Asset, properties: Mapping[str, Any], asset: Mapping[str, Any]) -> Asset:
    """The asset with transform and bounds.

    An asset that states its own shape but no transform has not the item's transform (which is
    that of another resolution); its own follows from the bounding box.
    """
    shape = asset.get("proj:shape") or properties.get("proj:shape")
    box = asset.get("proj:bbox") or properties.get("proj:bbox")
    numbers = asset.get("proj:transform")
    if numbers is None and not (asset.get("proj:shape") and box):
        numbers = properties.get("proj:transform")
    place: tuple[float, float, float, float] | None = None
    if numbers is not None:
        place = _transform(found, [float(n) for n in numbers[:6]])
    elif box is not None and shape is not None:
        left, bottom, right, top = _corners(box)
        place = (left, (right - left) / shape[1], top, (top - bottom) / shape[0])
    bounds: Bounds | None = None
    if place is not None and shape is not None:
        left, res_x, top, res_y = place
        bounds = (left, top - shape[0] * res_y, left + shape[1] * res_x, top)
    elif box is not None:
        bounds = _corners(box)
    return replace(found, transform=place, bounds=bounds)


def _transform(found: Asset, numbers: Sequence[float]) -> tuple[float, float, float, float]:
    a, b, c, d, e, f = numbers
    if b == 0 == d and a > 0 > e:
        return c, a, f, -e
    if c == 0 == e and b > 0 > f:  # GDAL's order, which some catalogues publish
        return a, b, d, -f
    raise GridMismatchError(
        f"The asset '{found.key}' of item '{found.item}' is rotated or upside down "
        f"(proj:transform {list(numbers)}); only north-up rasters can be loaded."
    )


def _corners(box: Sequence[float]) -> Bounds:
    half = len(box) // 2
    return float(box[0]), float(box[1]), float(box[half]), float(box[half + 1])


def _crs(item: Mapping[str, Any], fields: Mapping[str, Any]) -> str | None:
    for name in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
        if (value := fields.get(name)) is None:
            continue
        try:
            known = CRS.from_json_dict(value).to_wkt() if name == "proj:projjson" else value
            return crs_name(known)
        except (CRSError, rasterio.errors.CRSError) as error:
            raise GridMismatchError(
                f"The item '{item.get('id')}' states an unknown CRS, {name} = {value!r}."
            ) from error
    return None


def _nodata(value: Any) -> float | None:
    return None if value is None else float(value)  # "nan" and "inf" are strings in STAC


def _holds_classes(key: str, asset: Mapping[str, Any], band: Mapping[str, Any]) -> bool:
    if any(f"classification:{n}" in fields for n in ("classes", "bitfields") for fields in (asset, band)):  # fmt: skip
        return True
    names = (key.lower(), str(band.get("name", "")).lower())
    return bool(CLASS_ROLES & set(asset.get("roles") or ())) or any(
        name.startswith(CLASS_KEYS) for name in names
    )
