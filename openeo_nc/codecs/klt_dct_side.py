"""What the decoder of `klt-dct` needs beside the integers: step, means, cells, bases, centroids.

Little endian:

    origin, peak   f8, f8  only where the peak is the tile's range
    mean           i2 * bands, in eighths of a step above origin
    repeats        2 bits a band: side of its cells of equal pixels is 1, 2, 3 or 6
    counts         u2 * zones: components; the top bit if the basis is that of the zone before
    centroids      i1 * zones * 3: how far magnitudes 1, 2 and more lie off, in 1/128
    bases          entropy-coded integers, by zone, column by column, present bands only
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import cells, entropy
from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.klt_dct_context import ZONES
from openeo_nc.codecs.klt_dct_transform import Axes, present, synthesis
from openeo_nc.errors import PayloadError

MEAN_UNIT = 1 / 8
"""Means are stored in this part of a step."""
CENTROID_UNIT = 1 / 128
_BEFORE = 0x8000
_PEAKS = {1: 255.0, 2: 10000.0}  # by itemsize of integers: reflectance x 10000 in 16 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Side data of one tile."""

    origin: float
    """Pixel value that is coded as zero."""
    peak: float
    """Range that the quality refers to; 0 if all valid pixels are equal."""
    mean: npt.NDArray[np.int16]
    """`(bands,)` in MEAN_UNIT steps above origin."""
    repeats: npt.NDArray[np.uint8]
    """`(bands,)` side of cells of equal pixels: 1, 2, 3 or 6."""
    bases: tuple[npt.NDArray[np.int32] | None, ...]
    """Stored basis of each zone, `(bands, components)`; None for that of the zone before."""
    centroids: npt.NDArray[np.int8]
    """`(zones, 3)` in CENTROID_UNIT."""

    def step(self, quality: float) -> float:
        """Quantiser step in pixel values."""
        return quality_step(quality, self.peak) or 1.0

    @property
    def axes(self) -> list[Axes]:
        """Synthesis of each zone, `(bands, components)`."""
        found: list[Axes] = []
        for stored in self.bases:
            found.append(found[-1] if stored is None else synthesis(stored))
        return found

    def to_bytes(self, peak: float | None, tables: Tables) -> bytes:
        """The bytes of the module's docstring; `peak` is the one that the decoder knows, if any."""
        head = b"" if peak else struct.pack("<2d", self.origin, self.peak)
        counts = [_BEFORE if b is None else b.shape[1] for b in self.bases]
        entries = [
            stored[present(self.repeats, zone)].T.reshape(-1)
            for zone, stored in enumerate(self.bases)
            if stored is not None
        ]
        symbols = np.concatenate(entries).astype(np.int32)
        return b"".join(
            [
                head,
                self.mean.astype("<i2").tobytes(),
                cells.to_bytes(self.repeats.tolist()),
                np.array(counts, "<u2").tobytes(),
                self.centroids.tobytes(),
                entropy.encode(symbols, np.zeros(symbols.size, np.uint8), tables),
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes, bands: int, peak: float | None, tables: Tables) -> Side:
        """Inverse of `to_bytes`; PayloadError if the bytes are no side data."""
        layout = [("edge", "<f8", 0 if peak else 2), ("mean", "<i2", bands)]
        layout += [("repeats", "u1", -(-bands // 4)), ("counts", "<u2", ZONES)]
        layout += [("centroids", "i1", 3 * ZONES)]
        fixed = np.dtype([(name, kind, (n,)) for name, kind, n in layout])
        if len(data) < fixed.itemsize:
            raise PayloadError(f"side data have {len(data)} bytes, expected {fixed.itemsize}")
        record = np.frombuffer(data, fixed, 1)[0]
        origin, peak = (0.0, peak) if peak else record["edge"].tolist()
        if not (np.isfinite(origin) and np.isfinite(peak)) or peak < 0:
            raise PayloadError(f"side data give the origin {origin} and the peak {peak}")
        repeats = np.array(cells.from_bytes(record["repeats"].tobytes(), bands), np.uint8)
        return cls(
            origin=origin,
            peak=peak,
            mean=record["mean"].astype(np.int16),
            repeats=repeats,
            bases=_bases(record["counts"].tolist(), data[fixed.itemsize :], repeats, tables),
            centroids=record["centroids"].reshape(ZONES, 3),
        )


def fixed_peak(dtype: np.dtype[Any]) -> float | None:
    """The peak of a dtype: 255, reflectance x 10000, or None if the tile's range is taken."""
    return None if dtype.kind == "f" else _PEAKS.get(dtype.itemsize)


def _bases(
    counts: Sequence[int], data: bytes, repeats: npt.NDArray[np.uint8], tables: Tables
) -> tuple[npt.NDArray[np.int32] | None, ...]:
    bands = len(repeats)
    own = [c != _BEFORE for c in counts]
    if not own[0] or any(c > bands for c, o in zip(counts, own, strict=True) if o):
        raise PayloadError(f"side data give {counts} components for {bands} bands")
    rows = [present(repeats, zone) for zone in range(ZONES)]
    sizes = [c * int(r.sum()) if o else 0 for c, r, o in zip(counts, rows, own, strict=True)]
    symbols = entropy.decode(data, np.zeros(sum(sizes), np.uint8), tables)
    bases: list[npt.NDArray[np.int32] | None] = []
    for zone, part in enumerate(np.split(symbols, np.cumsum(sizes)[:-1])):
        stored = None
        if own[zone]:
            stored = np.zeros((bands, counts[zone]), np.int32)
            stored[rows[zone]] = part.reshape(counts[zone], int(rows[zone].sum())).T
        bases.append(stored)
    return tuple(bases)
