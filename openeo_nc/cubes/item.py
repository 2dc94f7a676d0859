"""Describes a store as a STAC Item: where, when, which bands, which codec, how many bits.

An embedding is described by the embeddings extension (`emb:`) with a link to its model; what STAC
has no words for is in `nc:`. The Item lies in the store's root, so the asset's href is `./`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from rasterio.crs import CRS
from rasterio.warp import transform_bounds, transform_geom

from openeo_nc.cubes.conventions import SOURCE, affine
from openeo_nc.cubes.grid import Bounds

if TYPE_CHECKING:
    from openeo_nc.codecs.base import CodecCard
    from openeo_nc.cubes.inspect import StoreReport

VERSION = "1.1.0"
EMBEDDING_VERSION = "1.0.0"
"""STAC version of embeddings: their extension's schema takes no other."""
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
EMBEDDINGS = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"
ZARR_TYPE = "application/vnd.zarr; version=3"
MODEL = ".nc/model.json"
"""Where a store of payloads keeps the Item of its codec."""
CODING = ("nc:codec", "nc:weights_sha256", "nc:quality", "nc:rate", "nc:bitstream", "nc:tile",
          "nc:grid")  # fmt: skip
"""Attributes that outlive arithmetic; of a plain store they would say what it is not."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Where a raster lies."""

    crs: str
    """`EPSG:n` or WKT."""
    bounds: Bounds
    """Outer edges of the stored array in units of the CRS."""
    shape: tuple[int, int]
    """Its pixels (or patches) in y and x."""
    inner: Bounds | None = None
    """Outer edges of the cube, if the array is larger; the Item's geometry."""

    def properties(self) -> dict[str, Any]:
        """The proj: fields."""
        code = {"proj:code": self.crs} if self.crs.startswith("EPSG:") else {
            "proj:code": None, "proj:wkt2": self.crs,
        }  # fmt: skip
        return {
            **code,
            "proj:bbox": list(self.bounds),
            "proj:shape": list(self.shape),
            "proj:transform": affine(self.bounds, self.shape),
        }

    def geographic(self) -> dict[str, Any]:
        """Geometry and bbox in longitude and latitude."""
        left, bottom, right, top = bounds = self.inner or self.bounds
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        crs, target = CRS.from_user_input(self.crs), CRS.from_epsg(4326)
        polygon = {"type": "Polygon", "coordinates": [ring]}
        geometry = polygon if crs == target else dict(transform_geom(crs, target, polygon))
        bbox = list(transform_bounds(crs, target, *bounds, densify_pts=21))
        return {"geometry": geometry, "bbox": bbox}


def store_item(
    name: str,
    *,
    footprint: Footprint | None,
    times: Sequence[Any] | None,
    labels: Sequence[str],
    embedding: bool,
    attrs: Mapping[str, Any],
    report: StoreReport,
    card: CodecCard | None = None,
    step: float | None = None,
) -> dict[str, Any]:
    """The Item of a store, as JSON takes it.

    Parameters
    ----------
    name
        Id of the Item.
    footprint
        Where the cube lies; None gives an Item without geometry.
    times
        Labels of t.
    labels
        Bands, or dimensions of the embedding.
    embedding
        Whether the store was written as an embedding.
    attrs
        Attributes of the cube; those in `nc:` that are one value become properties.
    report
        What was written.
    card, step
        Codec and lattice step of a store of payloads.
    """
    place = footprint.geographic() if footprint else {"geometry": None}
    properties = {
        **_dates(times),
        **(footprint.properties() if footprint else {}),
        **_own(attrs, report),
    }
    asset = {"href": "./", "type": ZARR_TYPE, "roles": ["data"], "title": "Zarr store"}
    links = [{"rel": "self", "href": "./item.json", "type": "application/geo+json"}]
    if (source := attrs.get(SOURCE)) is not None:
        links.append({"rel": "derived_from", "href": str(source)})
    if card is not None:
        links.append({"rel": "mlm:model", **_model(card)})
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [PROJECTION] if footprint else [],
        "id": name,
        **place,
        "properties": properties,
        "links": links,
        "assets": {"data": {**asset, "bands": [{"name": label} for label in labels]}},
    }
    return item if card is None or not embedding else _embedding(item, asset, card, step)


def _model(card: CodecCard) -> dict[str, str]:
    """A link to the codec's own Item."""
    return {"href": f"./{MODEL}", "type": "application/geo+json", "title": card.title}


def _embedding(
    item: dict[str, Any], asset: dict[str, Any], card: CodecCard, step: float | None
) -> dict[str, Any]:
    """The Item as one of the embeddings extension."""
    properties = {
        **item["properties"],
        "emb:runtime_parameters": {
            "model": card.codec_id,
            "model_version": card.version,
            "bands": list(card.bands or ()),
            "chip_size": card.tile,
            "stride": card.stride,
        },
        "emb:quantization": {
            "method": "linear",
            "original_dtype": "float32",
            "quantized_dtype": "int32",
            "scale": [step],
            "offset": [0.0],
        },
    }
    decoder = {"rel": "emb:decoder", **_model(card)}
    return {
        **item,
        "stac_version": EMBEDDING_VERSION,
        "stac_extensions": [*item["stac_extensions"], EMBEDDINGS],
        "properties": properties,
        "links": [*item["links"], {"rel": "emb:model", **_model(card)}, decoder],
        "assets": {"embeddings": asset},
    }


def _own(attrs: Mapping[str, Any], report: StoreReport) -> dict[str, Any]:
    """The nc: fields: what the cube states of itself in one value, and what was written."""
    stated = {
        name: value
        for name, value in attrs.items()
        if name.startswith("nc:") and isinstance(value, str | int | float)
        if report.codec is not None or name not in CODING
    }
    written = {
        "nc:view": report.view,
        "nc:codec": report.codec,
        "nc:weights_sha256": report.weights_sha256,
        "nc:quality": report.quality,
        "nc:rate": None if report.rate is None else dict(report.rate),
        "nc:forms": None if report.forms is None else [asdict(form) for form in report.forms],
        "nc:bytes": sum(array.bytes for array in report.arrays[:1]),
        "nc:bpppb": report.bpppb,
        "nc:ratio": report.ratio,
        "nc:metrics": dict(report.metrics) if report.metrics else None,
        "nc:bound_held": report.bound_held,
        "nc:shifts": dict(report.shifts) if report.shifts else None,
        "nc:self_contained": report.self_contained,
    }
    return {**stated, **{name: value for name, value in written.items() if value is not None}}


def _dates(times: Sequence[Any] | None) -> dict[str, Any]:
    """datetime, or start and end; the time of writing for a cube whose t has no dates."""
    stamps = pd.to_datetime(pd.Index(times or []), errors="coerce", utc=True).dropna()
    created = {"created": _text(dt.datetime.now(dt.UTC))}
    if stamps.empty:
        return {"datetime": created["created"], **created}
    first, last = stamps.min(), stamps.max()
    if first == last:
        return {"datetime": _text(first), **created}
    return {
        "datetime": None,
        "start_datetime": _text(first),
        "end_datetime": _text(last),
        **created,
    }


def _text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
