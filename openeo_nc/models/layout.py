"""Where the chips of a model lie on a tile grid, and how vectors of overlapping chips are one.

    |<- halo ->|<------ step: the chip's cell ------>|<- halo ->|
    |<------------------------ side ---------------------------->|

Cells lie side by side from the grid's origin on, a whole number in each tile, so a chip is the same
whatever was asked for. A network that sees a finite surrounding takes a whole tile at once, its halo
being the margin, and what it gives of the halo is dropped. One that looks at its whole chip gives a
patch another vector in each chip that has it: these are averaged, with weights that fall linearly
to a chip's edge, where it knows least (so weights of neighbours add up to one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from openeo_nc.models.base import ModelCard

TILE = 384
"""Pixels of a tile side that layouts come close to: that of the codecs."""


def labels_of(dim: int) -> list[str]:
    """Labels of the values of a vector, as cubes have them."""
    return [f"e{index:03d}" for index in range(dim)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Chips of one model."""

    side: int
    """Pixels of a chip's side."""
    step: int
    """Pixels from chip to chip."""
    count: int
    """Chips along a tile."""
    stride: int
    """Pixels of a patch side."""
    blended: bool
    """Whether patches take part in several chips."""
    pooled: bool
    """Whether a chip gives one vector, for its cell."""

    @classmethod
    def of(cls, card: ModelCard) -> Layout:
        """The layout for a card."""
        pooled = card.pooling != "none"
        if pooled:
            side, step = card.chip or card.stride + 2 * card.margin, card.stride
        elif card.chip is not None:
            side, step = card.chip, card.chip - 2 * card.margin
        else:
            step = card.stride * max(1, round(TILE / card.stride))
            side = step + 2 * card.margin
        halo = (side - step) // 2
        return cls(
            side=side,
            step=step,
            count=max(1, round(TILE / step), -(-halo // step)),
            stride=card.stride,
            blended=not pooled and card.chip is not None and card.margin > 0,
            pooled=pooled,
        )

    @property
    def halo(self) -> int:
        """Pixels of a chip on each side of its cell."""
        return (self.side - self.step) // 2

    @property
    def tile(self) -> int:
        """Pixels of a tile side."""
        return self.step * self.count

    @property
    def patches(self) -> int:
        """Patches along a tile."""
        return self.tile // self.stride

    @property
    def given(self) -> int:
        """Patches along a chip that the network gives a vector of."""
        return 1 if self.pooled else self.side // self.stride

    def chips(self, x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Chips of a tile with its halo, `(..., tile + 2 halo, tile + 2 halo)`, row by row."""
        starts = [n * self.step for n in range(self.count)]
        return [
            x[..., top : top + self.side, left : left + self.side]
            for top in starts
            for left in starts
        ]

    def joined(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`(dim, patches, patches)` of a tile, each chip's own cell only.

        Parameters
        ----------
        vectors
            `(chips, dim, given, given)`, row by row.
        """
        if not self.pooled and (lost := self.halo // self.stride):
            vectors = vectors[..., lost:-lost, lost:-lost]
        _, dim, rows, columns = vectors.shape
        cells = vectors.reshape(self.count, self.count, dim, rows, columns)
        return cells.transpose(2, 0, 3, 1, 4).reshape(dim, self.patches, self.patches)

    def blend(
        self, around: dict[tuple[int, int], npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        """`(dim, patches, patches)` of a tile from its chips and those that reach into it.

        Parameters
        ----------
        around
            Vectors as `joined` takes them of tiles, by rows and columns from this one; chips
            without data are NaN and have no part.

        Returns
        -------
        NaN where no chip has data.
        """
        dim = next(iter(around.values())).shape[1]
        total = np.zeros((dim, self.patches, self.patches))
        weight = np.zeros((self.patches, self.patches))
        ramp = self._ramp()
        for (row, column), vectors in sorted(around.items()):
            for number, chip in enumerate(vectors):
                down, right = divmod(number, self.count)
                ys, from_y = self._overlap(row * self.count + down)
                xs, from_x = self._overlap(column * self.count + right)
                part = chip[:, from_y, from_x]
                if part.size == 0 or np.isnan(part).any():
                    continue
                share = np.outer(ramp[from_y], ramp[from_x])
                total[:, ys, xs] += share * part
                weight[ys, xs] += share
        with np.errstate(invalid="ignore"):
            return (total / weight).astype(np.float32)

    def _overlap(self, position: int) -> tuple[slice, slice]:
        """Of a tile's patches those that a chip has, and of the chip's those; along one axis."""
        first = (position * self.step - self.halo) // self.stride
        start, stop = max(first, 0), min(first + self.given, self.patches)
        stop = max(start, stop)
        return slice(start, stop), slice(start - first, stop - first)

    def _ramp(self) -> npt.NDArray[np.float64]:
        shared = 2 * self.halo / self.stride
        place = np.arange(self.given) + 0.5
        rising = np.minimum(place, self.given - place)
        ramp: npt.NDArray[np.float64] = np.minimum(rising / shared, 1.0)
        return ramp


def there(x: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.bool_]:
    """Which patches of `(dates, bands, y, x)` have a valid pixel: `(y / stride, x / stride)`."""
    valid: npt.NDArray[np.bool_] = ~np.all(np.isnan(x), axis=(0, 1))
    rows, columns = (n // stride for n in valid.shape)
    cells = valid.reshape(rows, stride, columns, stride)
    found: npt.NDArray[np.bool_] = np.any(cells, axis=(1, 3))
    return found
