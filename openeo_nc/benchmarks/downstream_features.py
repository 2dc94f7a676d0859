"""What a patch is described by: an encoder's vector, or plain numbers of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from openeo_nc.benchmarks.downstream_places import PATCH, LabelSet
from openeo_nc.benchmarks.downstream_probe import Answers, Samples, better
from openeo_nc.models.base import EmbeddingModel

Array = npt.NDArray[Any]
_MOST = 0.6
"""Share of a patch's pixels that its class must have."""
_CELL = 8
"""Patches a side of a cell that the bootstrap draws."""


def samples_of(labels: LabelSet) -> tuple[Samples, Array]:
    """The patches with a class and without gaps, and `(patches,)` which of all they are."""
    classes = np.concatenate([_majority(y) for y in labels.classes])
    folds = np.concatenate([_blocks(f[None])[:, 0, 0] for f in labels.folds])
    whole = np.concatenate(
        [np.isfinite(_blocks(x[labels.bands])).all(axis=(1, 2)) for x in labels.images]
    )
    kept = whole & (classes > 0)
    units = np.concatenate([_cells(i, x.shape[1:]) for i, x in enumerate(labels.images)])
    found = Samples(
        classes=classes[kept].astype(int), folds=folds[kept].astype(int), units=units[kept]
    )
    return found, kept


def embedded(model: EmbeddingModel, images: Sequence[Array]) -> Array:
    """`(patches, dim)` float32 of all patches of images."""
    return np.concatenate(
        [model.embed(_cut(x)[None])[0].reshape(model.card.dim, -1).T for x in images]
    )


def pixels(labels: LabelSet) -> Array:
    """`(patches, bands, 64)` float32 of all patches."""
    return np.concatenate([_blocks(x[labels.bands]) for x in labels.images])


def moments(patches: Array) -> Array:
    """`(patches, 2 * bands)`: mean and deviation of each band."""
    return np.concatenate([patches.mean(axis=2), patches.std(axis=2)], axis=1)


def of_moments(patches: Array, samples: Samples) -> Answers:
    """Answers of a probe on mean and deviation of the bands."""
    return better(moments(patches), samples)


def of_components(patches: Array, samples: Samples, dim: int) -> Answers:
    """Answers of a probe on principal components of raw pixels, found where the probe is fitted."""
    raw = patches.reshape(len(patches), -1)
    size = min(dim, raw.shape[1])
    return better(raw, samples, lambda: (PCA(size, svd_solver="randomized", random_state=0),))


def _cut(x: Array) -> Array:
    """Of `(bands, y, x)` the whole patches."""
    height, width = (n // PATCH * PATCH for n in x.shape[1:])
    return np.ascontiguousarray(x[:, :height, :width])


def _blocks(x: Array) -> Array:
    """`(bands, y, x)` as `(patches, bands, 64)`."""
    cut = _cut(x)
    bands, height, width = cut.shape
    apart = cut.reshape(bands, height // PATCH, PATCH, width // PATCH, PATCH)
    return apart.transpose(1, 3, 0, 2, 4).reshape(-1, bands, PATCH * PATCH)


def _majority(classes: Array) -> Array:
    """`(patches,)` the class of most pixels of a patch, 0 where it has too few."""
    blocks = _blocks(classes[None])[:, 0]
    named = np.unique(blocks)
    shares = np.stack([(blocks == one).mean(axis=1) for one in named])
    return np.where(shares.max(axis=0) >= _MOST, named[shares.argmax(axis=0)], 0)


def _cells(image: int, shape: tuple[int, ...]) -> Array:
    """`(patches,)` number of each patch's cell, unlike those of other images."""
    rows, columns = (np.arange(n // PATCH) // _CELL for n in shape)
    return (image * 10_000 + rows[:, None] * 100 + columns[None]).ravel()
