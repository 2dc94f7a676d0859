"""The order in which `klt-dct` codes the DC of blocks, and how it predicts each from those before.

One block first, then grids of half the distance each time: the centres of four known blocks, then
those beside four known ones. The prediction is their rounded mean, in integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]
LEVELS = 8
"""Refinements of the DC grid that have weights of their own, finest first."""
FAR = 1 << 16
"""Differences count up to this in contexts; keeps sums within int32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DCStep:
    """Blocks whose DC is coded in one call, and the known ones around each."""

    level: int
    """0 for the finest grid."""
    turn: int
    """0: centres, predicted from four corners; 1: sides, predicted from four beside."""
    at: IntArray
    """`(n,)` block numbers."""
    neighbours: IntArray
    """`(4, n)` block numbers; where one is outside, another is repeated."""
    known: IntArray
    """`(4, n)` 1 where the neighbour is inside, else 0."""

    def predict(self, around: IntArray) -> tuple[IntArray, IntArray]:
        """Rounded mean of the known ones and the difference of the outer ones, `(n,)` int32."""
        if not self.neighbours.size:
            zero = np.zeros(self.at.shape, np.int32)
            return zero, zero
        count = self.known.sum(0, dtype=np.int64)
        total = (around.astype(np.int64) * self.known).sum(0)
        prediction = ((2 * total + count) // (2 * count)).astype(np.int32)
        spread = around.max(0).astype(np.int64) - around.min(0)
        return prediction, np.minimum(spread, FAR).astype(np.int32)


@cache
def dc_steps(blocks: tuple[int, int]) -> tuple[DCStep, ...]:
    """The order of the DC plane: one block, then grids of half the distance each time."""
    rows, columns = blocks
    nowhere = np.zeros((0, 1), np.int32)
    steps = [
        DCStep(
            level=LEVELS - 1, turn=0, at=np.zeros(1, np.int32), neighbours=nowhere, known=nowhere
        )
    ]
    for level in reversed(range((max(blocks) - 1).bit_length())):
        distance = 1 << level
        y, x = np.divmod(np.arange(rows * columns, dtype=np.int32), columns)
        odd_y, odd_x = (y // distance) % 2, (x // distance) % 2
        on_grid = (y % distance == 0) & (x % distance == 0)
        for turn, chosen in enumerate((odd_y & odd_x, odd_y ^ odd_x)):
            at = np.flatnonzero(on_grid & chosen.astype(bool)).astype(np.int32)
            if not at.size:
                continue
            offsets = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
            if turn == 1:
                offsets = [(-1, 0), (0, -1), (0, 1), (1, 0)]
            places = [(y[at] + i * distance, x[at] + j * distance) for i, j in offsets]
            inside = np.stack([(p >= 0) & (p < rows) & (q >= 0) & (q < columns) for p, q in places])
            numbers = np.stack([p * columns + q for p, q in places])
            first = np.take_along_axis(numbers, inside.argmax(0)[None], 0)
            steps.append(
                DCStep(
                    level=min(level, LEVELS - 2),
                    turn=turn,
                    at=at,
                    neighbours=np.where(inside, numbers, first).astype(np.int32),
                    known=inside.astype(np.int32),
                )
            )
    return tuple(steps)
