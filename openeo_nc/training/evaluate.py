"""Scores on the evaluation places: of a model while it trains, and of the codec that comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.codecs.base import Codec
from openeo_nc.codecs.rate_control import psnr
from openeo_nc.codecs.spectral import SpectralBasis
from openeo_nc.training.model import Model
from openeo_nc.training.spectra import components

SIDE_BYTES = 200
"""Of the spectral basis, about."""


@torch.no_grad()
def evaluate(
    model: Model,
    places: dict[str, list[npt.NDArray[np.float32]]],
    card: SpectralBasis,
    qualities: tuple[float, ...] = (2.0, 4.0, 6.0),
) -> dict[str, list[list[float]]]:
    """Estimated [bpppb, PSNR] a quality for every place; basis bytes counted, headers not."""
    model.eval()
    out: dict[str, list[list[float]]] = {}
    for name, tiles in places.items():
        rows = []
        for q in qualities:
            scores = []
            for x in tiles:
                u = torch.from_numpy(components(x, card, True))[None]
                u_hat, bits_y, bits_z, _ = model(u, torch.tensor([q]), noisy=False)
                mse = float(((u_hat - u) ** 2).mean())
                bits = float(bits_y + bits_z) + 8 * SIDE_BYTES
                scores.append([bits / x.size, 10 * math.log10(1e8 / mse)])
            rows.append([float(v) for v in np.mean(scores, axis=0)])
        out[name] = rows
    model.train()
    return out


def evaluation_tiles(data: Path, split: dict[str, Any]) -> dict[str, list[npt.NDArray[np.float32]]]:
    """The evaluation files as they are, cut to whole multiples of 32 pixels."""
    tiles: dict[str, list[npt.NDArray[np.float32]]] = {}
    for entry in split["evaluation"]:
        for name in entry["files"]:
            with rasterio.open(data / name) as file:
                x = file.read().astype(np.float32)
            h, w = (n // 32 * 32 for n in x.shape[1:])
            tiles.setdefault(entry["place"], []).append(x[:, :h, :w])
    return tiles


def coded_places(
    codec: Codec, data: Path, split: Path, qualities: Sequence[float]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Counted bytes and PSNR by place, tile and quality of a codec on the evaluation places."""
    places: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for tile in from_split(data, split):
        rows = places.setdefault(tile.place, {}).setdefault(tile.name, {})
        for quality in qualities:
            payload = codec.encode(tile.pixels, quality, nodata=tile.nodata)
            score = psnr(tile.pixels, codec.decode(payload), codec.card, tile.nodata)
            rows[f"{quality:g}"] = {"bytes": len(payload), "psnr": round(score, 2)}
    return places
