"""What the restoration network learns from: crops of training places, coded by `klt-dct`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.klt_dct import KltDctCodec
from openeo_nc.codecs.klt_dct_context import N
from openeo_nc.codecs.registry import open_codec
from openeo_nc.training.data import Source, augment

CROP = 8 * N
"""Side of a coded crop in pixels."""
PART = 4 * N
"""Side of what the network sees of it in a step."""
ALIGNED = 6
"""Crops start at multiples of this, so that repeated 20 m and 60 m pixels are found as such."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run, but the data."""

    architecture: str
    codec_id: str
    split: str
    """Path of the split file, relative to the config."""
    seed: int
    quality: tuple[float, float]
    """Range that is restored."""
    crops: int
    """Coded crops to learn from."""
    steps: int
    minutes: float = 1e9
    """Stop after this time even if steps are left; the learning rate follows whichever is nearer."""
    batch: int
    learning_rate: float
    warm_up: int = 200
    ema: float = 0.999
    width: int
    blocks: int
    evaluate_every: int = 1500
    threads: int | None = None
    """CPU threads; None leaves it to torch."""
    device: str = "cpu"
    """torch device, e.g. `cuda`."""
    blend: float
    """Share of crops that are a weighted sum of two, of any places: textures that no place has."""
    weight_decay: float
    place_weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Coded crops."""

    pixels: npt.NDArray[np.uint16]
    """`(crops, bands, y, x)` original."""
    means: npt.NDArray[np.float32]
    """`(crops, bands, 1, 1)` of what was decoded."""
    errors: npt.NDArray[np.float16]
    """`(crops, bands, y, x)` original less decoded, in steps."""
    quality: npt.NDArray[np.float32]
    """`(crops,)`."""
    repeats: npt.NDArray[np.uint8]
    """`(crops, bands)` side of cells of equal pixels."""


def aligned_crop(x: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A random square of CROP pixels, mirrored at the edges where the image is smaller."""
    short = [max(CROP - n, 0) for n in x.shape[1:]]
    if any(short):
        x = np.pad(x, ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
    top, left = (ALIGNED * int(rng.integers((n - CROP) // ALIGNED + 1)) for n in x.shape[1:])
    return x[:, top : top + CROP, left : left + CROP]


def coded_crops(places: Mapping[str, list[Source]], config: Config, codec: KltDctCodec) -> Pairs:
    """Crops of training places, coded at random qualities."""
    rng = np.random.default_rng(config.seed)
    names = sorted(places)
    chance = np.array([config.place_weights.get(n, 1.0) for n in names])
    shape = (config.crops, len(next(iter(places.values()))[0].pixels), CROP, CROP)
    pairs = Pairs(
        pixels=np.empty(shape, np.uint16),
        means=np.empty((*shape[:2], 1, 1), np.float32),
        errors=np.empty(shape, np.float16),
        quality=np.empty(config.crops, np.float32),
        repeats=np.empty(shape[:2], np.uint8),
    )

    def drawn() -> npt.NDArray[np.float32]:
        sources = places[names[int(rng.choice(len(names), p=chance / chance.sum()))]]
        return augment(aligned_crop(sources[int(rng.integers(len(sources)))].pixels, rng), rng)

    for i in tqdm(range(config.crops), unit="crop"):
        x = drawn()
        if rng.random() < config.blend:
            share = rng.uniform(0.15, 0.85)
            x = np.rint(share * x + (1 - share) * drawn())
        x = np.clip(x, 0, 65535).astype(np.uint16)
        latents = codec.analyse(x, quality=float(rng.uniform(*config.quality)))
        values = codec.reconstruct(latents)
        pairs.pixels[i] = x
        pairs.means[i] = values.mean(axis=(1, 2), keepdims=True)
        pairs.errors[i] = (x - values) / quality_step(latents.quality)
        pairs.quality[i] = latents.quality
        pairs.repeats[i] = codec.side(latents).repeats
    return pairs


def batches(pairs: Pairs, config: Config) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Values, errors, quality and repeats of random parts, turned and mirrored, for ever."""
    rng = np.random.default_rng(config.seed + 1)
    while True:
        chosen = rng.integers(len(pairs.quality), size=config.batch)
        parts = [part(pairs, i, rng) for i in chosen.tolist()]
        values, errors = (torch.from_numpy(np.stack(a)) for a in zip(*parts, strict=True))
        yield (
            values,
            errors,
            torch.from_numpy(pairs.quality[chosen]),
            torch.from_numpy(pairs.repeats[chosen]),
        )


def part(
    pairs: Pairs, i: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Values in steps about the crop's means, and errors, of a random part of a crop."""
    top, left = (N * int(rng.integers((CROP - PART) // N + 1)) for _ in range(2))
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    where = np.s_[i, :, top : top + PART, left : left + PART]
    errors = pairs.errors[where].astype(np.float32)
    step = quality_step(float(pairs.quality[i]))
    values = (pairs.pixels[where] - pairs.means[i]) / np.float32(step) - errors
    turned = [np.rot90(a, turns, axes=(1, 2)) for a in (values, errors)]
    out = [np.ascontiguousarray(a[:, :, ::-1] if mirrored else a) for a in turned]
    return out[0], out[1]


def universal() -> KltDctCodec:
    """The codec whose integers are restored."""
    codec = open_codec("klt-dct")
    if not isinstance(codec, KltDctCodec):
        raise TypeError("klt-dct is of another architecture")
    return codec
