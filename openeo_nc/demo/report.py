"""Puts together what the demonstration reports: numbers as JSON takes them, and pictures."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from openeo_nc.benchmarks.tiles import Tile
from openeo_nc.codecs.base import CodecCard
from openeo_nc.codecs.registry import get_card
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.metrics import bpppb
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.demo import evidence
from openeo_nc.demo.page import Pictures
from openeo_nc.demo.source import Source
from openeo_nc.report.html import size

_TILE = 384
_RATES_NOTE = (
    "One tile of the first date, every byte of the payloads counted. Dashed: JPEG 2000, a codestream "
    "a band or one for all bands, and KLT + JPEG 2000 with its basis in the payload. Read the curves "
    "for this scene only; the readme says how to measure codecs on real places."
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a run of the demonstration produced."""

    source: Source
    """What was loaded."""
    store: Mapping[str, Any]
    """Report of the compressed cube's store."""
    latents: Mapping[str, Any] | None
    """Report of the embedding's store, if a model takes these bands."""
    original: xr.DataArray
    """`(t, bands, y, x)`, computed, as loaded."""
    restored: xr.DataArray
    """What the compressed store decodes to; may reach beyond the original."""
    embedding: xr.DataArray | None
    """`(t, embedding, y, x)`, computed."""
    decoded: xr.DataArray | None
    """What the embedding decodes to."""
    curves: Sequence[Mapping[str, Any]]
    """Rate-distortion curves of one tile."""
    timing: Sequence[tuple[str, float]]
    """Steps and seconds."""
    graphs: tuple[str, ...]
    """File names of the graphs."""

    @property
    def card(self) -> CodecCard:
        """Card of the codec of the compressed store."""
        return get_card(str(self.store["codec"]))

    @property
    def physical(self) -> bool:
        """Whether the values are reflectances, and not numbers as stored."""
        return SCALE in self.original.attrs

    @property
    def peak(self) -> float:
        """Peak of the PSNR in the cube's units."""
        return 1.0 if self.physical else self.card.peak or float(self.original.max())

    @property
    def dates(self) -> list[str]:
        """ISO dates."""
        return [str(label)[:10] for label in self.original["t"].values]

    def on_original(self, cube: xr.DataArray) -> xr.DataArray:
        """The part of a cube of whole tiles that the original covers."""
        chosen = cube.sel(x=self.original["x"], y=self.original["y"], method="nearest")
        return chosen.transpose(*self.original.dims)

    def slices(self) -> evidence.Slices:
        """The tiles of the original."""
        tile = int(self.store["tile"])
        return evidence.Slices(
            tile=tile, window=TileGrid.of(self.original, tile).window(self.original)
        )


def trial_tile(original: xr.DataArray) -> Tile:
    """The tile of the first date with most valid pixels, for rate-distortion; int16.

    No data are filled with each band's mean, since the baselines know none.
    """
    window = TileGrid.of(original, _TILE).window(original)
    parts = evidence.Slices(tile=_TILE, window=window).of(original.values[0])
    pixels = max(parts, key=lambda part: int(np.isfinite(part).sum()))
    mean = np.nanmean(pixels, axis=(1, 2), keepdims=True)
    numbers = np.where(np.isfinite(pixels), pixels, mean) * (1e4 if SCALE in original.attrs else 1)
    return Tile(
        place="scene",
        name=str(original["t"].values[0])[:10],
        pixels=np.clip(np.rint(numbers), -32767, 32767).astype(np.int16),
        nodata=None,
        native_bpppb=None,
    )


def report_of(results: Results) -> dict[str, Any]:
    """The report as JSON takes it."""
    card, original = results.card, results.original
    restored = results.on_original(results.restored)
    rows = [
        evidence.row(
            date,
            original.values[i],
            restored.values[i],
            _bytes_of_date(results.store, i),
            results.slices(),
            results.peak,
        )
        for i, date in enumerate(results.dates)
    ]
    return {
        "title": "openeo_nc demonstration",
        "openeo_nc": version("openeo-nc"),
        "notice": results.source.notice,
        "source": results.source.arguments(),
        "codec": {
            "id": card.codec_id,
            "title": card.title,
            "version": card.version,
            "weights_sha256": card.weights_sha256,
            "quality": results.store["quality"],
        },
        "cube": {
            "shape": list(original.shape),
            "bands": [str(label) for label in original["bands"].values],
            "crs": str(original.rio.crs),
            "units": "reflectance" if results.physical else "numbers as stored",
            "peak": results.peak,
        },
        "dates": rows,
        "total": evidence.total(rows, original.size, results.source.bands),
        "store": dict(results.store),
        "embedding": _embedding(results),
        "rate_distortion": {"note": _RATES_NOTE, "curves": list(results.curves)},
        "timing": [{"step": step, "seconds": seconds} for step, seconds in results.timing],
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "Python": platform.python_version(),
        },
        "files": {
            "graphs": list(results.graphs),
            "store": "compressed.zarr",
            "item": "compressed.zarr/item.json",
        },
    }


def pictures_of(results: Results) -> Pictures:
    """The pictures of the report."""
    restored = results.on_original(results.restored)
    error = np.sqrt(np.nanmean((results.original.values - restored.values) ** 2))
    limit = _round_up(3 * float(error))
    return evidence.pictures(results.dates, results.original, restored, results.embedding, limit)


def _embedding(results: Results) -> dict[str, Any] | None:
    """Numbers of the embedding, and of what it decodes to."""
    cube, latents = results.embedding, results.latents
    if cube is None or latents is None:
        return None
    stride = int(cube.attrs["nc:stride"])
    channels = int(cube.sizes["embedding"])
    quality = None
    if results.decoded is not None:
        decoded = results.on_original(results.decoded)
        found = [
            evidence.mean_psnr(a, b, results.slices(), results.peak)
            for a, b in zip(results.original.values, decoded.values, strict=True)
        ]
        known = [value for value in found if value is not None]
        quality = float(np.mean(known)) if known else None
    nbytes = int(latents["arrays"][0]["bytes"])
    note = (
        f"{channels} numbers for each patch of {stride} x {stride} pixels, {size(nbytes)} as saved. "
        "It covers whole tiles of the grid; hatched patches have no data. Colours are the first "
        "three principal components, one rotation for all dates."
    )
    if quality is not None:
        note += f" decode_embedding gives the pixels back at {quality:.1f} dB."
    return {
        "model": latents["codec"],
        "weights_sha256": latents["weights_sha256"],
        "quality": latents["quality"],
        "shape": [int(cube.sizes[dim]) for dim in ("t", "embedding", "y", "x")],
        "stride": stride,
        "bytes": nbytes,
        "bpppb": bpppb(nbytes, results.original.shape),
        "decoded_psnr_db": quality,
        "note": note,
    }


def _bytes_of_date(store: Mapping[str, Any], date: int) -> int:
    """Bytes of the payloads of one date, shard indexes included."""
    folder = Path(str(store["path"])) / str(store["arrays"][0]["name"]) / "c" / str(date)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _round_up(value: float) -> float:
    """To one digit: 0.0123 to 0.02; an error-free reconstruction gives the smallest step."""
    if not value > 0:
        return 1e-4
    power = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / power) * power
