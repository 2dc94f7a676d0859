"""Training samples: crops of real Sentinel-2 L2A tiles as 10 m cubes, resampled as loaders resample them.

Most published tiles repeat their 20 m and 60 m pixels; loaders interpolate them. Each source is
therefore taken back to native pixels and interpolated bilinearly as well, and both forms are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

FloatArray = npt.NDArray[np.float32]
TEN_METRES = (1, 2, 3, 7)
"""Indexes of B02 B03 B04 B08 in the twelve bands."""
SIXTY_METRES = (0, 9)
"""Indexes of B01 and B09."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One image to crop from."""

    place: str
    """Place of the split."""
    pixels: FloatArray
    """`(12, y, x)` float32, reflectance x 10000."""


def runs(values: npt.NDArray[Any], axis: int) -> npt.NDArray[np.int64]:
    """Starts of the runs of equal rows or columns, beginning with 0."""
    moved = np.moveaxis(values, axis, 0)
    changed = (moved[1:] != moved[:-1]).mean(axis=1) > 0.05
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def interpolation(starts: npt.NDArray[np.int64], size: int) -> FloatArray:
    """`(size, runs)` weights of bilinear interpolation from run centres to pixels."""
    ends = np.append(starts[1:], size)
    centres = (starts + ends - 1) / 2
    eye = np.eye(len(starts))
    pixels = np.arange(size)
    return np.stack([np.interp(pixels, centres, column) for column in eye], axis=1).astype("f4")


def interpolate_repeated(band: FloatArray) -> FloatArray:
    """A band of repeated pixels as bilinear interpolation of the pixels it repeats."""
    rows, columns = runs(band, 0), runs(band, 1)
    native = band[np.ix_(rows, columns)]
    up = interpolation(rows, band.shape[0]), interpolation(columns, band.shape[1])
    return np.asarray(up[0] @ native @ up[1].T, dtype=np.float32)


def shrink(band: FloatArray, factor: int) -> FloatArray:
    """Mean of factor x factor blocks."""
    h, w = (n // factor * factor for n in band.shape)
    blocks = band[:h, :w].reshape(h // factor, factor, w // factor, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def enlarge(band: FloatArray, factor: int) -> FloatArray:
    """Bilinear interpolation of a band to factor times its size."""
    h, w = band.shape
    up = [interpolation(np.arange(n) * factor, n * factor) for n in (h, w)]
    return np.asarray(up[0] @ band @ up[1].T, dtype=np.float32)


def native_to_grid(bands: list[FloatArray]) -> FloatArray:
    """Twelve full-resolution bands degraded to 20 and 60 m resolution as Sentinel-2 has them."""
    h, w = (n // 6 * 6 for n in bands[0].shape)
    out = []
    for i, band in enumerate(bands):
        factor = 1 if i in TEN_METRES else 6 if i in SIXTY_METRES else 2
        cut = band[:h, :w]
        out.append(cut if factor == 1 else enlarge(shrink(cut, factor), factor))
    return np.stack(out)


def read_sources(path: Path, place: str, offset: float) -> list[Source]:
    """The forms in which one file is used for training."""
    with rasterio.open(path) as file:
        x = file.read().astype(np.float32)
    x = np.maximum(x - offset, 0)
    if x.shape[0] == 11:  # 60 m bands without B08: one pixel stands for one of 10 m
        b08 = 0.5 * (x[6] + x[7]) + 0.3 * (x[3] - 0.5 * (x[2] + x[4]))
        x = native_to_grid([*x[:7], b08, *x[7:]])
        return [Source(place=place, pixels=np.maximum(x, 0))]
    smooth = np.stack([b if i in TEN_METRES else interpolate_repeated(b) for i, b in enumerate(x)])
    sources = [Source(place=place, pixels=smooth)] * 5 + [Source(place=place, pixels=x)]
    if min(x.shape[1:]) >= 260:  # half size: 20 m bands are sharp there, so degrade them again
        half = [shrink(b, 2) for b in x]
        sources.append(Source(place=place, pixels=native_to_grid(half)))
    return sources


def known_offsets(data: Path) -> dict[str, float]:
    """Offsets of the files of a folder in DN, as its manifest has them; others have none."""
    manifest = data / "manifest.json"
    if not manifest.exists():
        return {}
    files = json.loads(manifest.read_text())["files"]
    found = {f["path"]: f.get("offset_dn", f.get("offset_dn_guess", 0)) for f in files}
    return {path: float(offset or 0) for path, offset in found.items()}


def load_places(data: Path, split: dict[str, Any], side: str) -> dict[str, list[Source]]:
    """Sources of every place on one side of a split file."""
    offsets = known_offsets(data)
    return {
        entry["place"]: [
            source
            for name in entry["files"]
            for source in read_sources(data / name, entry["place"], offsets.get(name, 0.0))
        ]
        for entry in split[side]
    }


def crop(x: FloatArray, size: int, rng: np.random.Generator) -> FloatArray:
    """A random square of an image, mirrored at the edges where the image is smaller."""
    short = [max(size - n, 0) for n in x.shape[1:]]
    if any(short):
        x = np.pad(x, ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
    top, left = (int(rng.integers(n - size + 1)) for n in x.shape[1:])
    return x[:, top : top + size, left : left + size]


def augment(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Rotations, flips, brightness and a slight gain a band."""
    x = np.rot90(x, int(rng.integers(4)), axes=(1, 2))
    if rng.random() < 0.5:
        x = x[:, :, ::-1]
    gain = np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.05, size=(x.shape[0], 1, 1)))
    return np.asarray(np.rint(x * gain), dtype=np.float32)


def samples(
    places: dict[str, list[Source]], weights: dict[str, float], size: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """An endless stream of crops `(12, size, size)`, places drawn by weight."""
    names = sorted(places)
    p = np.array([weights.get(n, 1.0) for n in names])
    p /= p.sum()
    while True:
        sources = places[names[int(rng.choice(len(names), p=p))]]
        yield augment(crop(sources[int(rng.integers(len(sources)))].pixels, size, rng), rng)
