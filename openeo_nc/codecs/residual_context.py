"""What is known of a residual's integer before it is coded: a prediction, and how far off it will be.

Bands are coded in order, each in passes over a grid that halves: every fourth row and column, then
what lies between, diagonals before rows and columns. All of a pass is coded at once.

    pass 0        pass 1, 4      pass 2, 5      pass 3, 6        o: to be coded, x: known
    . . . .       x   x          x o x          x o x
    . o . .         o              x            o x o
    . . . .       x   x          x   x          x   x

A prediction is a weighted sum of the band's own neighbours, of the bands before at the same place,
and of what lies around that place in the two before. The scale is a weighted sum of how far such
neighbours were from their predictions. Weights are integers that the payload brings. All of it is
sums of integers below 2^53 in float64: exact in any order, on every machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.cells import REPEATS, enlarge
from openeo_nc.codecs.residual_tables import PHASES, levels

BEFORE = 11
"""Bands before that a prediction may weigh."""
UNIT = 64
"""Integer that stands for a weight of 1, and for 1 in predictions."""
LIMIT = 127
"""Largest magnitude of a weight."""
LARGEST = 1 << 29
"""Largest magnitude of an integer of a residual, so that a symbol is an int32."""
FARTHEST = 1 << 20
"""Magnitudes count up to this, in units of 1 / UNIT: no scale leaves 2^53."""
_OWN: tuple[tuple[int, ...], ...] = ((), (10,), (12,), (10, 4))
_BEFORE, _ALONE, _LEAST = (6, 3, 2, 1), (20, 8, 6, 3), 4
"""Usual weights of errors: the band's own by kind of pass, those of bands before, and the least."""
_SPANS = (4, 2)
"""Distance of known pixels in the coarser grid, pass 1 to 3 and 4 to 6 counted from."""
_MARGIN = max(REPEATS) * _SPANS[0] // 2

Floats = npt.NDArray[np.float64]
Term = tuple[Floats, ...]
"""Views `(rows, columns)` whose sum counts."""


Scale = tuple[int, ...]
"""Of each entry of `Neighbourhood.errors`, 0..LIMIT, and last the scale that is added to their sum,
as the number of a table's."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Pixels of one band that are coded together: a grid of cells."""

    number: int
    """0..6, in coding order."""
    rows: slice
    """Of the band's pixels."""
    columns: slice
    """Of the band's pixels."""
    shape: tuple[int, int]
    """Rows and columns of the grid."""
    beside: tuple[tuple[int, int], ...]
    """Offsets in pixels of the band's own neighbours that are known: rows and columns, diagonals."""
    cell: int
    """Side of a cell in pixels."""

    @property
    def kind(self) -> int:
        """0 without neighbours of its own; 1 with diagonal ones, 2 with straight ones, 3 with both."""
        return (self.number + 2) % 3 + 1 if self.number else 0

    @property
    def size(self) -> int:
        """Pixels of the grid."""
        return self.shape[0] * self.shape[1]

    def every(self, n: int) -> Pass:
        """Every n-th row of the grid."""
        rows = slice(self.rows.start, None, n * self.rows.step)
        return replace(self, rows=rows, shape=(-(-self.shape[0] // n), self.shape[1]))

    def at(self, plane: Floats, offset: tuple[int, int] = (0, 0)) -> Floats:
        """What a padded plane has at the grid's pixels, moved by an offset; a view."""
        y, x = (
            slice(start + moved, start + moved + (n - 1) * part.step + 1, part.step)
            for part, n, moved in zip((self.rows, self.columns), self.shape, offset, strict=True)
            for start in (part.start + _MARGIN,)
        )
        return plane[y, x]


def passes(shape: tuple[int, int], cell: int) -> Iterator[Pass]:
    """The passes over a band `(y, x)` of cells; those without pixels are left out."""
    grids = [(_SPANS[0], 0, 0, 0)]
    for span in _SPANS:
        half = span // 2
        grids += [(span, half, half, half), (span, 0, half, half), (span, half, 0, half)]
    for number, (span, row, column, half) in enumerate(grids):
        counts = [
            -(-(-(-n // cell) - first) // span)
            for n, first in zip(shape, (row, column), strict=True)
        ]
        if min(counts) < 1:
            continue
        step, far = span * cell, half * cell
        straight = ((0, -far), (0, far), (-far, 0), (far, 0)) if row != column else ()
        diagonal = ((-far, -far), (far, far), (-far, far), (far, -far))
        yield Pass(
            number=number,
            rows=slice(row * cell, None, step),
            columns=slice(column * cell, None, step),
            shape=(counts[0], counts[1]),
            beside=straight + (diagonal if row else ()),
            cell=cell,
        )


class Neighbourhood:
    """The residual as far as it is known: the band at hand and those before it, with a margin."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._values: deque[Floats] = deque(maxlen=BEFORE + 1)
        self._errors: deque[Floats] = deque(maxlen=4)

    def begin(self) -> None:
        """Start a band."""
        height, width = self._shape
        for planes in (self._values, self._errors):
            planes.appendleft(np.zeros((height + 2 * _MARGIN, width + 2 * _MARGIN)))

    def put(self, where: Pass, values: Floats, errors: Floats) -> None:
        """The integers of a pass, and how far they are from their predictions in 1 / UNIT."""
        where.at(self._values[0])[...] = values
        where.at(self._errors[0])[...] = errors

    def end(self, cell: int) -> None:
        """Finish a band: its cells fill with what their corners hold."""
        if cell > 1:
            for plane in (self._values[0], self._errors[0]):
                inner = plane[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
                inner[...] = enlarge(inner[::cell, ::cell], cell, self._shape)

    def values(self, where: Pass) -> list[Term]:
        """What predicts a pass: each entry is the sum of some views `(rows, columns)`."""
        before = list(self._values)[1:]
        straight, diagonal = _around(where.cell)
        return [
            *((where.at(self._values[0], offset),) for offset in where.beside),
            *((where.at(plane),) for plane in before),
            *(
                tuple(where.at(plane, offset) for offset in ring)
                for plane in before[:2]
                for ring in (straight, diagonal)
            ),
        ]

    def errors(self, where: Pass) -> list[Term]:
        """What the scale of a pass is told by, in the same form."""
        before = list(self._errors)[1:]
        own = [where.at(self._errors[0], offset) for offset in where.beside]
        around = sum(_around(where.cell), ())
        return [
            *(tuple(own[i : i + 4]) for i in range(0, len(own), 4)),
            *((where.at(plane),) for plane in before),
            *(tuple(where.at(plane, offset) for offset in around) for plane in before[:1]),
        ]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How a pass is predicted; what the payload brings for it."""

    mean: tuple[int, ...] | None = None
    """Of each entry of `Neighbourhood.values`, -LIMIT..LIMIT in 1 / UNIT; None predicts 0."""
    scale: Scale | None = None
    """None takes `usual_scale`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What is known of the integers of a pass; arrays `(rows, columns)`."""

    prediction: Floats
    """In 1 / UNIT."""
    nearest: Floats
    """The nearest integer of it."""
    side: Floats
    """1 or -1: symbols are mirrored where the prediction is below its nearest integer."""
    index: npt.NDArray[np.uint8]
    """Table of each symbol."""

    @classmethod
    def of(cls, where: Pass, known: Neighbourhood, weights: Weights) -> Context:
        """The context of a pass."""
        prediction = np.zeros(where.shape)
        if weights.mean is not None:
            prediction = _weighted(known.values(where), weights.mean, where.shape)
            np.clip(prediction, -UNIT * LARGEST, UNIT * LARGEST, out=prediction)
        terms = known.errors(where)
        *factors, least = weights.scale or usual_scale(where, known)
        scale = _weighted(terms, factors, where.shape) + levels()[least]
        nearest = np.floor((prediction + UNIT // 2) / UNIT)
        rest = prediction - UNIT * nearest
        phase = np.minimum(np.floor(np.abs(rest) * (2 * PHASES / UNIT)), PHASES - 1)
        level = np.searchsorted(levels()[1:], scale, side="right")
        return cls(
            prediction=prediction,
            nearest=nearest,
            side=np.where(rest < 0, -1.0, 1.0),
            index=(level * PHASES + phase).astype(np.uint8),
        )

    def symbols(self, exact: Floats) -> npt.NDArray[np.int32]:
        """What is coded of the integers."""
        return np.asarray(self.side * (exact - self.nearest), np.int32)

    def values(self, symbols: npt.NDArray[np.int32]) -> Floats:
        """Inverse of `symbols`."""
        return self.nearest + self.side * symbols

    def errors(self, exact: Floats) -> Floats:
        """How far integers are from their predictions, in 1 / UNIT."""
        return np.minimum(np.abs(UNIT * exact - self.prediction), FARTHEST)


def usual_scale(where: Pass, known: Neighbourhood) -> Scale:
    """Weights for the scale of a pass that brings none."""
    own, before = _OWN[where.kind], _BEFORE if where.number else _ALONE
    count = len(known.errors(where)) - len(own)
    return (*own, *(before[:count] if count < 2 else (*before[: count - 1], before[-1])), _LEAST)


def _weighted(terms: Sequence[Term], weights: Sequence[int], shape: tuple[int, int]) -> Floats:
    """`(rows, columns)`: the weighted sum of terms."""
    out = np.zeros(shape)
    for term, weight in zip(terms, weights, strict=True):
        if weight:
            total = term[0]
            for view in term[1:]:
                total = total + view
            out += weight * total
    return out


def _around(cell: int) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    return (
        ((0, -cell), (0, cell), (-cell, 0), (cell, 0)),
        ((-cell, -cell), (cell, cell), (-cell, cell), (cell, -cell)),
    )
