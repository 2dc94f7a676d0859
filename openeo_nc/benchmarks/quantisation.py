"""What quantisers keep of real vectors, and at how many bytes: AlphaEarth's and s2-embed-small's.

Quantisers that are fitted see every second vector of AlphaEarth, and the places of the split that
are not scored of s2-embed-small; the errors are of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.errors import NoDataAvailableError
from openeo_nc.models.quantisation import Quantiser, cosine_error, quantiser
from openeo_nc.models.registry import get_model_card, open_model
from openeo_nc.tables import table

Vectors = npt.NDArray[np.float32]
NAMES = ("float32", "int8", "int8_power", "pca32+int8", "pca16+int8", "rans", "binary")
MODEL = "s2-embed-small"
_NEIGHBOURS = 10
_QUERIES = 200


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One quantiser on one set of vectors."""

    vectors: str
    """The set."""
    quantiser: str
    """Its name."""
    bytes: float
    """Bytes a vector."""
    ratio: float
    """Bytes of float32 over these."""
    error: float
    """Mean of 1 - cosine between a vector and what is kept of it."""
    worst: float
    """The largest."""
    neighbours: float
    """Part of a vector's ten nearest, by cosine, that are still among the ten."""


def run(data: Path, *, side: int = 256, names: Sequence[str] = NAMES) -> list[Kept]:
    """All quantisers on both sets.

    Parameters
    ----------
    data
        Folder of the shared data.
    side
        Pixels a side of each tile that s2-embed-small is given.

    Raises
    ------
    NoDataAvailableError
        The folder has neither.
    """
    kept = []
    for title, sample, scored in (*_alphaearth(data), *_embedded(data, side)):
        for name in names:
            if name == "int8_power" and np.abs(scored).max() > 1:
                continue  # it is for vectors of length 1
            chosen = quantiser(name, dim=scored.shape[1], sample=sample)
            kept.append(measured(title, chosen, scored))
    if not kept:
        raise NoDataAvailableError(f"{data} has no vectors and no tiles to embed.")
    return kept


def measured(title: str, chosen: Quantiser, v: Vectors) -> Kept:
    """What a quantiser keeps of `(n, dim)` vectors."""
    codes = chosen.quantise(v)
    snapped = chosen.dequantise(codes)
    size = chosen.nbytes(codes) / len(v)
    mean, worst = cosine_error(v, snapped)
    return Kept(
        vectors=title, quantiser=chosen.name, bytes=size, ratio=4 * v.shape[1] / size,
        error=mean, worst=worst, neighbours=_neighbours(v, snapped),
    )  # fmt: skip


def table_of(kept: Sequence[Kept]) -> str:
    """For terminals."""
    head = ("vectors", "quantiser", "bytes", "ratio", "1 - cosine", "worst", "neighbours")
    rows = [
        (k.vectors, k.quantiser, f"{k.bytes:.1f}", f"{k.ratio:.1f}", f"{k.error:.1e}",
         f"{k.worst:.1e}", f"{k.neighbours:.3f}")
        for k in kept
    ]  # fmt: skip
    return table(head, rows)


def documents(kept: Sequence[Kept]) -> list[Mapping[str, Any]]:
    """As JSON takes it."""
    return [asdict(one) for one in kept]


def _neighbours(v: Vectors, snapped: Vectors) -> float:
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (v, snapped)]
    at = np.linspace(0, len(v) - 1, min(_QUERIES, len(v))).astype(int)
    near = []
    for one in unit:
        scores = one[at] @ one.T
        scores[np.arange(len(at)), at] = -np.inf
        near.append(np.argpartition(-scores, _NEIGHBOURS)[:, :_NEIGHBOURS])
    return float(np.mean([len(set(a) & set(b)) / _NEIGHBOURS for a, b in zip(*near, strict=True)]))


def _alphaearth(data: Path) -> list[tuple[str, Vectors, Vectors]]:
    found = []
    for path in sorted((data / "embeddings" / "alphaearth_2024").glob("*.nc")):
        with xr.open_dataset(path) as dataset:
            found.append(np.asarray(dataset.embedding.values, np.float32))
    if not found:
        return []
    v = np.concatenate(found)
    return [("AlphaEarth", v[::2], v[1::2])]


def _embedded(data: Path, side: int) -> list[tuple[str, Vectors, Vectors]]:
    """Vectors of the evaluation places; fitted to every second place."""
    if not (data / "s2").is_dir():
        return []
    card = get_model_card(MODEL)
    model = open_model(card)
    places: dict[str, list[Vectors]] = {}
    for tile in from_split(data, "s2-embed"):
        height, width = (min(side, n) // card.stride * card.stride for n in tile.pixels.shape[1:])
        pixels = tile.pixels[None, :, :height, :width].astype(np.float32)
        if tile.nodata is not None:
            pixels[pixels == tile.nodata] = np.nan
        v = model.embed(pixels)[0].reshape(card.dim, -1).T
        places.setdefault(tile.place, []).append(v[np.isfinite(v).all(1)])
    sets = [np.concatenate(found) for _, found in sorted(places.items())]
    return [(MODEL, np.concatenate(sets[::2]), np.concatenate(sets[1::2]))]
