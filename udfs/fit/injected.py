"""Changes that are put into images, and images without labels: what change and anomaly are measured on.

A block is 16 x 16 pixels on the grid of patches, so four patches. Its pixels become those of a block,
anywhere on the patch grid, of another place: one of the three with land cover. One block in each eighth
cell of 32 x 32 pixels, at least one; a patch is changed if its own pixels are. Its neighbours are not,
though the encoder sees 560 m around a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from udfs.fit.places import PATCH, Place, composites, majortom, patches, scenes

BLOCK, CELL = 16, 32
CLEAR = (4, 5, 6)
"""Sen2Cor's vegetation, bare soil, water."""
_SIDE = 320
_DAYS = 40
_PAIRS = 6
_MOST = 0.95

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Two images of a place between which nothing is known to have happened."""

    place: str
    """Of both."""
    before: Array
    """`(12, y, x)` float32, NaN as no data."""
    after: Array
    """Likewise."""


def inject(pixels: Array, donors: Sequence[Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """An image `(12, y, x)` with foreign blocks, and the patches `(y / 8, x / 8)` that are changed."""
    changed = pixels.copy()
    rows, columns = (side // CELL for side in pixels.shape[-2:])
    truth = np.zeros([side // PATCH for side in pixels.shape[-2:]], bool)
    count = max(1, rows * columns // 8)
    for cell in rng.choice(rows * columns, size=count, replace=False):
        top, left = (CELL * int(one) for one in divmod(int(cell), columns))
        donor = donors[rng.integers(len(donors))]
        y, x = (PATCH * int(rng.integers((side - BLOCK) // PATCH)) for side in donor.shape[-2:])
        block = donor[:, y : y + BLOCK, x : x + BLOCK]
        lacking = np.isnan(pixels).all((-2, -1))
        changed[~lacking, top : top + BLOCK, left : left + BLOCK] = block[~lacking]
        span = BLOCK // PATCH
        truth[top // PATCH :, left // PATCH :][:span, :span] = True
    return changed, truth


def pairs(data: Path) -> list[Pair]:
    """Of series: clear images at most 40 days apart, six pairs a place at most. Of single images: the
    image, and itself with each band times 0.95 to 1.05, plus -50 to 50, plus noise of deviation 30."""
    rng = np.random.default_rng(0)
    sample, *several, _ = scenes(data)
    found = [pair for place in (*several, composites(data)) for pair in _of_series(place)]
    for place in (*majortom(data), sample):
        image = place.pixels[0, :, :_SIDE, :_SIDE]
        gain, offset = rng.uniform(0.95, 1.05, (12, 1, 1)), rng.uniform(-50, 50, (12, 1, 1))
        after = image * gain + offset + rng.normal(0, 30, image.shape)
        found.append(Pair(place=place.name, before=image, after=after.astype(np.float32)))
    return found


def donors(data: Path, target: str) -> list[Array]:
    """Images `(12, y, x)` of the places with land cover, but for the target's."""
    return [place.pixels[0] for place in majortom(data) if place.name != target]


def _of_series(place: Place) -> list[Pair]:
    there = np.isfinite(place.pixels).any(1).mean((1, 2)) > _MOST
    if place.labels is not None:
        there &= np.isin(patches(place.labels), CLEAR).mean((1, 2)) > _MOST
    clear = np.flatnonzero(there)
    found: list[Pair] = []
    for first, second in pairwise(clear):
        apart = (place.times[second] - place.times[first]) / np.timedelta64(1, "D")
        if apart <= _DAYS:
            found.append(
                Pair(place=place.name, before=place.pixels[first], after=place.pixels[second])
            )
    spread = np.linspace(0, len(found) - 1, min(_PAIRS, len(found))).astype(int)
    return [found[i] for i in spread]
