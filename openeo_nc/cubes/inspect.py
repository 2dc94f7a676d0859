"""Tells what a store holds from its files: bytes, rate, codec, tiles, errors; decodes nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.loading import CARD, FOLDER
from openeo_nc.codecs.views import ARRAYS, VIEW
from openeo_nc.cubes.metrics import bpppb
from openeo_nc.cubes.shards import tile_bytes
from openeo_nc.errors import FormatUnsuitableError

RECORD = f"{FOLDER}/write.json"
"""What the writer leaves of its work: its token, and the errors of the tiles if measured."""


@dataclass(frozen=True, kw_only=True)
class TileError:
    """How far the decoded pixels of one tile are from what was encoded."""

    tile: tuple[int, int, int]
    """Date, row and column of the tile in the store."""
    psnr: float | None
    """dB; None for a tile without error or without a valid pixel."""
    max_error: float | None
    """Largest absolute error in the card's numbers; None without a valid pixel."""


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

    path: Path
    """Where it is."""
    bytes: int
    """Bytes of all its files."""
    arrays: tuple[ArrayReport, ...]
    """Its arrays, the coded one first."""
    view: str | None
    """`pixels` or `latents`, as it was written; None for a plain store."""
    codec: str | None
    """Id of the codec; None for a plain store, as for the following five."""
    weights_sha256: str | None
    """SHA-256 of the codec's weights; None for a codec without any."""
    quality: float | None
    """Quality of the payloads."""
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
    """Errors over all tiles, where they were measured; see `summary`."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {**asdict(self), "path": str(self.path)}


def inspect_store(path: str | os.PathLike[str]) -> StoreReport:
    """What is in a store.

    Raises
    ------
    FormatUnsuitableError
        There is no Zarr v3 group.
    PayloadError
        The index of a shard is damaged.
    """
    root = Path(path)
    group = _document(root)
    attrs = group.get("attributes", {})
    view = attrs.get(VIEW)
    arrays = [_array(folder.parent) for folder in sorted(root.glob("*/zarr.json"))]
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
        tile=attrs.get("nc:tile"),
        tiles=None if coded is None else coded.stored_chunks,
        date_bytes=None if coded is None else _date_bytes(root / coded.name, coded.shape[0]),
        self_contained=(root / CARD).is_file(),
        metrics=record.get("metrics"),
        **_rate(coded, attrs),
    )


def summary(errors: Iterable[TileError]) -> dict[str, Any] | None:
    """Errors of tiles in a few numbers; None if none has a valid pixel.

    `psnr` is the mean of the tiles' PSNR as everywhere in the package, over tiles that have an
    error; `exact_tiles` counts those that have none.
    """
    valid = [error for error in errors if error.max_error is not None]
    if not valid:
        return None
    finite = [error.psnr for error in valid if error.psnr is not None]
    return {
        "tiles": len(valid),
        "exact_tiles": len(valid) - len(finite),
        "psnr": math.fsum(finite) / len(finite) if finite else None,
        "psnr_min": min(finite, default=None),
        "max_error": max(error.max_error for error in valid if error.max_error is not None),
    }


def _document(folder: Path) -> dict[str, Any]:
    document = _json(folder / "zarr.json")
    if document is None or document.get("zarr_format") != 3:
        raise FormatUnsuitableError(f"{folder} is no Zarr v3 group or array.")
    return document


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _files(folder: Path) -> list[Path]:
    """Files of the chunks or shards below a folder, or that folder if it is such a file."""
    return [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())


def _date_bytes(array: Path, dates: int) -> tuple[int, ...]:
    return tuple(sum(p.stat().st_size for p in _files(array / "c" / str(t))) for t in range(dates))


def _array(folder: Path) -> ArrayReport:
    document = _document(folder)
    outer = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    first = document["codecs"][0]
    sharded = first["name"] == "sharding_indexed"
    inner = tuple(first["configuration"]["chunk_shape"]) if sharded else outer
    files = _files(folder / "c")
    sizes = [p.stat().st_size for p in files]
    lengths: npt.NDArray[np.int64] = np.array(sizes, np.int64)
    if sharded:
        tiles = (outer[-2] // inner[-2], outer[-1] // inner[-1])
        found = [tile_bytes(p, tiles) for p in files]
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
