"""What `s2-embed-small` learns from: pairs of views of a place, some bands and patches hidden.

A view is a crop as Sentinel-2 might have seen it at another time: another gain, haze, noise, fewer
bands, a coarser sensor. Where a place has several dates on one grid, the two views may be of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from openeo_nc.models.s2_embed_network import STRIDE
from openeo_nc.training.data import crop, known_offsets, read_sources

FloatArray = npt.NDArray[np.float32]
_SUBSETS: Sequence[Sequence[int]] = (
    (1, 2, 3, 7),  # 10 m
    (1, 2, 3),  # colours
    (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11),  # 60 m products have no B08
    (1, 2, 3, 4, 5, 6, 7, 8, 10, 11),  # 10 and 20 m
)
"""Bands that products and other instruments come with; those that lack are hidden."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run, but the data."""

    architecture: str
    codec_id: str
    """Id of the model's card."""
    split: str
    """Path of the split file, relative to the config."""
    seed: int
    dim: int
    width: int
    crop: int
    """Pixels of a view's side; a multiple of the stride."""
    steps: int
    minutes: float = 1e9
    """Stop after this time even if steps are left; the learning rate follows whichever is nearer."""
    batch: int
    learning_rate: float
    weight_decay: float
    warm_up: int = 200
    ema: float = 0.998
    kinds: float
    """Weight of telling the kind of ground."""
    detail: float
    """Weight of telling a patch's detail."""
    cloudy: float
    """Share of samples under a drawn cloud."""
    hidden: float
    """Share of patches that the first view does not see."""
    invariance: float
    """Weight of the two views' vectors being alike."""
    spread: float
    """Weight of the vectors of a batch being unlike."""
    noise: float
    """Deviation of the noise on vectors in training, of the largest value of each: so that a few
    bits a value are enough."""
    blend: float
    """Share of crops that are a weighted sum of two places: spectra that none has."""
    evaluate_every: int = 1000
    threads: int | None = None
    """CPU threads; None leaves it to torch."""
    device: str = "cpu"
    """torch device, e.g. `cuda`."""
    place_weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Views:
    """A batch: two views of the same ground, and what the first shows in full."""

    first: Tensor
    """`(b, bands, y, x)` float32 in card units, NaN where hidden."""
    second: Tensor
    """The same ground, likewise."""
    target: Tensor
    """The first view with nothing hidden."""
    lasting: Tensor
    """The ground without clouds, haze or noise: where there are dates, their median."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """Images of one place."""

    images: Sequence[FloatArray]
    """`(12, y, x)` float32 each, reflectance x 10000."""
    series: bool
    """Whether they are dates on one grid."""

    @cached_property
    def lasting(self) -> FloatArray:
        """Median over the dates of a series, `(12, y, x)`."""
        return np.asarray(np.median(np.stack(self.images), axis=0), np.float32)


def load_ground(data: Path, split: Mapping[str, Any], side: str) -> dict[str, Ground]:
    """The places of one side of a split; bands of 20 and 60 m interpolated, as loaders have them."""
    offsets = known_offsets(data)
    return {
        entry["place"]: Ground(
            images=[
                read_sources(data / name, entry["place"], offsets.get(name, 0.0))[0].pixels
                for name in entry["files"]
            ],
            series=bool(entry.get("series")),
        )
        for entry in split[side]
    }


def views(places: Mapping[str, Ground], config: Config) -> Iterator[Views]:
    """Endless batches."""
    rng = np.random.default_rng(config.seed)
    names = sorted(places)
    chance = np.array([config.place_weights.get(n, 1.0) for n in names])
    chance /= chance.sum()

    def crops() -> list[FloatArray]:
        """The same ground at two dates of a place, or twice at one; and what of it lasts."""
        place = places[names[int(rng.choice(len(names), p=chance))]]
        i = int(rng.integers(len(place.images)))
        j = int(rng.integers(len(place.images))) if place.series and rng.random() < 0.4 else i
        lasting = place.lasting if place.series else place.images[i]
        return _crops([place.images[i], place.images[j], lasting], config.crop, rng)

    def sample() -> tuple[FloatArray, ...]:
        first, second, lasting = crops()
        if rng.random() < config.blend:
            share = np.float32(rng.uniform(0.3, 0.7))
            first, second, lasting = (
                share * a + (1 - share) * b
                for a, b in zip((first, second, lasting), crops(), strict=True)
            )
        gain = np.float32(np.exp(rng.normal(0, 0.15)))  # of the ground: both views have it
        if rng.random() < config.cloudy:
            first, second = _clouded([first, second], rng)
        target = _seen(gain * first, rng)
        hidden = _less_bands(target.copy(), rng)
        cells = rng.random((config.crop // STRIDE,) * 2) < config.hidden * rng.random()
        hidden[:, np.kron(cells, np.ones((STRIDE, STRIDE))) > 0] = np.nan
        return hidden, _less_bands(_seen(gain * second, rng), rng), target, gain * lasting

    while True:
        batch = [sample() for _ in range(config.batch)]
        first, second, target, lasting = (
            torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*batch, strict=True)
        )
        yield Views(first=first, second=second, target=target, lasting=lasting)


def _crops(images: Sequence[FloatArray], size: int, rng: np.random.Generator) -> list[FloatArray]:
    """The same random square of images, turned and mirrored; now and then at half the scale."""
    halved = rng.random() < 0.3
    at = int(rng.integers(2**32))
    window = [crop(x, size * (1 + halved), np.random.default_rng(at)) for x in images]
    x = np.concatenate(window)
    if halved:
        x = np.asarray(x.reshape(len(x), size, 2, size, 2).mean(axis=(2, 4)), np.float32)
    x = np.rot90(x, int(rng.integers(4)), axes=(1, 2))
    x = x[:, :, ::-1] if rng.random() < 0.5 else x
    return np.split(x, len(images))


def _clouded(views: Sequence[FloatArray], rng: np.random.Generator) -> list[FloatArray]:
    """Both views under the same cloud, thin to thick: bright, flat, less so in the short-wave."""
    size = views[0].shape[1]
    grids = [
        np.kron(rng.normal(0, cell, (size // cell + 1,) * 2), np.ones((cell, cell)))
        for cell in (4, 8, 16, 32)
    ]
    field = np.sum([grid[:size, :size] for grid in grids], axis=0)
    field = (field - np.quantile(field, rng.uniform(0.2, 0.9))) / (np.std(field) + 1e-6)
    cover = np.clip(gaussian_filter(field, rng.uniform(2, 6)), 0, 1) * rng.uniform(0.3, 1)
    colour = rng.uniform(3500, 9500) * np.linspace(1, rng.uniform(0.4, 0.8), len(views[0]))
    return [np.asarray((1 - cover) * v + cover * colour[:, None, None], np.float32) for v in views]


def _seen(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """As another pass might see it: gains of bands, haze that is stronger in the blue, noise."""
    bands = len(x)
    gains = np.exp(rng.normal(0, 0.04, size=(bands, 1, 1)))
    haze = np.abs(rng.normal(0, 120)) * np.exp(-np.linspace(0, 4, bands))[:, None, None]
    noise = rng.normal(0, rng.uniform(5, 60), size=x.shape)
    return np.asarray(x * gains + haze + noise, np.float32)


def _less_bands(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Now and then only the bands of some product, or all but a few."""
    kind = rng.random()
    if kind < 0.5:
        return x
    if kind < 0.75:
        kept = _SUBSETS[int(rng.integers(len(_SUBSETS)))]
    else:
        kept = rng.permutation(len(x))[: int(rng.integers(3, len(x)))].tolist()
    x[[i for i in range(len(x)) if i not in kept]] = np.nan
    return x
