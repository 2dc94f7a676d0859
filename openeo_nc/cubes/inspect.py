"""Tells what a store holds from its files: bytes, rate, codec, tiles, errors; decodes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.loading import CARD, FOLDER
from openeo_nc.codecs.views import ARRAYS, VIEW
from openeo_nc.cubes.forms import PayloadForm, chunk_files, forms, shard_shape
from openeo_nc.cubes.measures import bound_held, shift_summary
from openeo_nc.cubes.metrics import bpppb
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place, below, each
from openeo_nc.cubes.shards import tile_bytes
from openeo_nc.errors import FormatUnsuitableError

RECORD = f"{FOLDER}/write.json"
"""What the writer leaves of its work: its token, errors of the tiles if measured, their shifts."""


@dataclass(frozen=True, kw_only=True)
class ArrayReport:
    """One array of a store."""

    name: str
    """Name in the group."""
    shape: tuple[int, ...]
    """Its shape, whole tiles where it is coded."""
    dtype: str
    """Zarr's name of its data type."""
    chunks: tuple[int, ...]
    """Shape of a chunk: a tile, where it is coded."""
    shards: tuple[int, ...] | None
    """Shape of a shard, if it is sharded."""
    objects: int
    """Files that hold its data."""
    bytes: int
    """Bytes of these files."""
    stored_chunks: int
    """Chunks that are there."""
    chunk_bytes: tuple[int, float, int] | None
    """Smallest, mean and largest chunk in bytes; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class StoreReport:
    """One store."""

    path: Place
    """Where it is."""
    bytes: int
    """Bytes of all its files."""
    arrays: tuple[ArrayReport, ...]
    """Its arrays, the coded one first."""
    view: str | None
    """`pixels` or `latents`, as it was written; None for a plain store."""
    codec: str | None
    """Id of the codec; None for a plain store, as for the following seven."""
    weights_sha256: str | None
    """SHA-256 of the codec's weights; None for a codec without any."""
    quality: float | None
    """Quality of the payloads; None where each has its own."""
    rate: Mapping[str, Any] | None
    """What was asked, by the names of `compress_cube`."""
    forms: tuple[PayloadForm, ...] | None
    """Payloads by codec and form, most bytes first."""
    tile: int | None
    """Side of a tile in pixels."""
    tiles: int | None
    """Payloads in the store."""
    date_bytes: tuple[int, ...] | None
    """Bytes of the coded array's objects for each date."""
    shape: tuple[int, int, int, int] | None
    """`(t, bands, y, x)` of the pixels, without what tiles reach beyond them."""
    dtype: str | None
    """dtype of decoded pixels."""
    bpppb: float | None
    """Bits per pixel per band: all bytes of the coded array over the pixels of `shape`."""
    ratio: float | None
    """Bits of `ratio_to` over bpppb."""
    ratio_to: str | None
    """`uint16` for pixels of up to 16 bits and for reflectances, which are 16 bits at their source
    whatever dtype the cube has; else the dtype of the pixels."""
    self_contained: bool
    """Whether the codec's card and weights are in the store."""
    metrics: Mapping[str, Any] | None
    """Errors over all tiles, where they were measured; see `measures.summary`."""
    bound_held: bool | None
    """Whether every tile that has a bound is within it; None without a bound, or not measured."""
    shifts: Mapping[str, Any] | None
    """What the guard found, where it was asked: tiles scored and flagged, which, highest score."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {**asdict(self), "path": str(self.path)}


def inspect_store(path: str | os.PathLike[str] | ObjectPath) -> StoreReport:
    """What is in a store.

    Raises
    ------
    FormatUnsuitableError
        There is no Zarr v3 group.
    PayloadError
        The index of a shard is damaged.
    """
    root = path if isinstance(path, ObjectPath) else Path(path)
    group = _document(root)
    attrs = group.get("attributes", {})
    view = attrs.get(VIEW)
    documents: list[Place] = [*root.glob("*/zarr.json")]
    arrays = [_array(document.parent) for document in sorted(documents, key=str)]
    coded = next((a for a in arrays if view in ARRAYS and a.name == ARRAYS[view]), None)
    record = _json(root / RECORD) or {}
    return StoreReport(
        path=root,
        bytes=sum(p.stat().st_size for p in root.rglob("*") if p.is_file()),
        arrays=tuple(sorted(arrays, key=lambda a: (a is not coded, -a.bytes))),
        view=None if coded is None else view,
        codec=attrs.get("nc:codec") if coded is not None else None,
        weights_sha256=attrs.get("nc:weights_sha256"),
        quality=attrs.get("nc:quality"),
        rate=None if coded is None else _asked(attrs),
        forms=None if coded is None else forms(root / coded.name, _document(root / coded.name)),
        tile=attrs.get("nc:tile"),
        tiles=None if coded is None else coded.stored_chunks,
        date_bytes=None if coded is None else _date_bytes(root / coded.name),
        self_contained=(root / CARD).is_file(),
        metrics=record.get("metrics"),
        bound_held=bound_held(attrs.get("nc:rate") or {}, record.get("metrics") or {}),
        shifts=shift_summary(record.get("shifts") or ()),
        **_rate(coded, attrs),
    )


def _asked(attrs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was asked; stores from before it was noted have a quality."""
    quality = {"quality": attrs["nc:quality"]} if "nc:quality" in attrs else None
    found: Mapping[str, Any] | None = attrs.get("nc:rate", quality)
    return found


def _document(folder: Place) -> dict[str, Any]:
    document = _json(folder / "zarr.json")
    if document is None or document.get("zarr_format") != 3:
        raise FormatUnsuitableError(f"{folder} is no Zarr v3 group or array.")
    return document


def _json(path: Place) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _date_bytes(array: Place) -> tuple[int, ...]:
    """Bytes of the objects for each date; what dates have in common is divided between them."""
    document = _document(array)
    dates, shard = document["shape"][0], shard_shape(document)
    total = np.zeros(-(-dates // shard[0]) * shard[0], np.int64)
    for path in chunk_files(array / "c"):
        first = int(below(path, array / "c").parts[0]) * shard[0]
        own, size = np.zeros(shard[0], np.int64), path.stat().st_size
        if shard[0] > 1:
            own = tile_bytes(path, shard).reshape(shard[0], -1).sum(axis=1)
        there = min(shard[0], dates - first)
        rest = size - int(own.sum())
        own[:there] += rest // there
        own[0] += rest % there
        total[first : first + shard[0]] += own
    return tuple(total[:dates].tolist())


def _array(folder: Place) -> ArrayReport:
    document = _document(folder)
    outer = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    first = document["codecs"][0]
    sharded = first["name"] == "sharding_indexed"
    inner = tuple(first["configuration"]["chunk_shape"]) if sharded else outer
    files = chunk_files(folder / "c")
    sizes = [p.stat().st_size for p in files]
    lengths: npt.NDArray[np.int64] = np.array(sizes, np.int64)
    if sharded:
        found = each(lambda path: tile_bytes(path, shard_shape(document)), files)
        lengths = np.concatenate([n[n > 0] for n in found]) if found else lengths
    return ArrayReport(
        name=folder.name,
        shape=tuple(document["shape"]),
        dtype=str(document["data_type"]),
        chunks=inner,
        shards=outer if sharded else None,
        objects=len(files),
        bytes=sum(sizes),
        stored_chunks=lengths.size,
        chunk_bytes=(
            (int(lengths.min()), float(lengths.mean()), int(lengths.max()))
            if lengths.size
            else None
        ),
    )


def _rate(coded: ArrayReport | None, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of pixels and bits."""
    if coded is None:
        return dict.fromkeys(("shape", "dtype", "bpppb", "ratio", "ratio_to"))
    top, bottom, left, right = attrs["nc:window"]
    coarse = attrs["nc:tile"] // coded.chunks[-1]
    height, width = (size * coarse for size in coded.shape[-2:])
    shape = (coded.shape[0], len(attrs["nc:bands"]), height - top - bottom, width - left - right)
    dtype = np.dtype(attrs["nc:dtype"])
    plain = str(attrs["nc:reference_dtype"])
    rate = bpppb(coded.bytes, shape)
    return {
        "shape": shape,
        "dtype": dtype.name,
        "bpppb": rate,
        "ratio": 8 * np.dtype(plain).itemsize / rate if rate else None,
        "ratio_to": plain,
    }
