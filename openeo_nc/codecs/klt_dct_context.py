"""Which frequency table codes each coefficient of `klt-dct`, decided from integers decoded before it.

Components are coded in order; within one, the DC plane first, then diagonal by diagonal of equal
u + v, each diagonal of all blocks in one call. DC is predicted from coarser DC (a grid refined by
halves), everything else is coded as it is. The context of a coefficient is a weighted sum of
magnitudes around it that are known by then: lower frequencies of its block and of the four
neighbour blocks, and the same and adjacent frequencies of the components before. Weights, features
and thresholds are integers, so encoder and decoder agree everywhere.

Planes are skewed: `plane[d + FRONT, u + FRONT, by, bx]` holds frequency (u, d - u), so that every
neighbour of a diagonal is a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.klt_dct_dc import FAR, LEVELS, dc_steps
from openeo_nc.errors import WeightsInvalidError

IntArray = npt.NDArray[np.int32]
IndexArray = npt.NDArray[np.uint8]
Features = npt.NDArray[np.int16]
N = 24
"""Side of a block in pixels: whole at the 10, 20 and 60 m pixels of Sentinel-2."""
DIAGONALS = 2 * N - 1
EDGES = (4, 8, 12)
"""max(u, v) at which zones begin; 4/24 and 12/24 are where 60 m and 20 m pixels have no more."""
ZONES = len(EDGES) + 1
FRONT = 4
LARGEST = 255
"""Magnitudes count up to this in contexts; keeps sums within int32."""
AC_SHIFT, DC_SHIFT = 2, 6
"""Contexts are in units of 1/1024; their lookups are coarser by these powers of two."""
OWN = 7
"""Features of the component itself."""
BEFORE = 6
"""Features of components before."""
COMPONENTS = 12
"""Components that have a bias of their own; later ones share the last."""
_LIMITS = {"own": 1 << 10, "before": 1 << 10, "bias": 1 << 20, "dc": 1 << 12}
"""Largest weights: no context leaves int32, whatever is decoded."""

Visit = Callable[[int, slice | IntArray, IndexArray, IntArray | None], IntArray]
"""(component, where in its skewed plane, table of each, prediction) -> values, prediction added."""


@cache
def zones() -> npt.NDArray[np.intp]:
    """`(N, N)`: the zone of frequency (u, v)."""
    u, v = np.indices((N, N))
    return np.digitize(np.maximum(u, v), EDGES)


@cache
def skew_index() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """`(N, N)` each: diagonal and row of frequency (u, v) in a skewed plane."""
    u, v = np.indices((N, N))
    return u + v, u


@cache
def skewed_zones() -> npt.NDArray[np.intp]:
    """`(DIAGONALS, N)`: zone of each place of a skewed plane; 0 outside."""
    out = np.zeros((DIAGONALS, N), np.intp)
    out[skew_index()] = zones()
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextModel:
    """Learned integers: weights of the features, thresholds and frequency tables."""

    own: IntArray
    """`(ZONES, OWN)` weights, 1/1024 each."""
    before: IntArray
    """`(ZONES, BEFORE)` weights."""
    bias: IntArray
    """`(ZONES, COMPONENTS)`."""
    dc: IntArray
    """`(LEVELS, 2, 3)` weights of spread, previous residual and bias, for the two passes."""
    ac_index: IndexArray
    """Context to table, `(contexts,)`; larger contexts take the last."""
    dc_index: IndexArray
    """The same for DC."""
    tables: Tables
    """One set for both."""

    @classmethod
    def from_weights(cls, weights: Mapping[str, npt.NDArray[Any]]) -> ContextModel:
        """The model of a weights file; WeightsInvalidError if it is none."""
        try:
            parts = {name: weights[name].astype(np.int32) for name in _LIMITS}
            lookups = {name: weights[name].astype(np.uint8) for name in ("ac_index", "dc_index")}
            tables = Tables(
                freq=weights["freq"].astype(np.uint32), offset=weights["offset"].astype(np.int32)
            )
        except KeyError as error:
            raise WeightsInvalidError(f"weights of klt-dct lack {error}") from error
        shapes = [part.shape for part in parts.values()]
        wanted = [(ZONES, OWN), (ZONES, BEFORE), (ZONES, COMPONENTS), (LEVELS, 2, 3)]
        if shapes != wanted:
            raise WeightsInvalidError(f"weights of klt-dct have shapes {shapes}, expected {wanted}")
        for name, limit in _LIMITS.items():
            if parts[name].min() < 0 or parts[name].max() > limit:
                raise WeightsInvalidError(f"weights {name} of klt-dct leave 0..{limit}")
        if any(lookup.max() >= len(tables.freq) for lookup in lookups.values()):
            raise WeightsInvalidError("weights of klt-dct name a table that is not there")
        return cls(tables=tables, **parts, **lookups)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a component may be non-zero: max(u, v) < side and u + v <= last."""

    side: int
    """0..N; 0 for a component that is zero."""
    last: int
    """0..2N - 2."""

    def rows(self, d: int) -> tuple[int, int]:
        """First and past the last u of diagonal d."""
        return max(0, d - self.side + 1), min(d, self.side - 1) + 1


def boxes(planes: npt.NDArray[Any]) -> list[Box]:
    """The smallest box of each of `(components, DIAGONALS, N, by, bx)` skewed planes."""
    used: npt.NDArray[np.bool_] = np.any(planes, axis=(3, 4))
    d, u = np.indices((DIAGONALS, N))
    outer = np.maximum(u, d - u) + 1
    return [
        Box(side=int(outer[plane].max(initial=0)), last=int(d[plane].max(initial=0)))
        for plane in used
    ]


def walk(
    model: ContextModel, extents: Sequence[Box], blocks: tuple[int, int], visit: Visit
) -> None:
    """Call visit for every group of coefficients inside the boxes, in coding order."""
    neighbourhood = Neighbourhood(blocks)
    own = model.own[skewed_zones()][..., None, None]
    product = np.empty((N, *blocks), np.int32)
    for c, box in enumerate(extents):
        neighbourhood.begin()
        if not box.side:
            continue
        residual = _walk_dc(model, neighbourhood, c, visit)
        before = neighbourhood.weighted_before(model, c, box.last + 1)
        for d in range(1, box.last + 1):
            u0, u1 = box.rows(d)
            if u0 >= u1:
                continue
            context = before[d, u0:u1]
            weights = own[d, u0:u1]
            for k, feature in enumerate(neighbourhood.own(d, u0, u1)):
                context += np.multiply(weights[:, k], feature, out=product[: u1 - u0])
            context >>= AC_SHIFT
            index = model.ac_index.take(np.minimum(context, model.ac_index.size - 1, out=context))
            start = (d * N + u0) * blocks[0] * blocks[1]
            values = visit(c, slice(start, start + index.size), index.reshape(-1), None)
            neighbourhood.put(d, u0, u1, values.reshape(index.shape))
        neighbourhood.end(residual)


def _walk_dc(model: ContextModel, neighbourhood: Neighbourhood, c: int, visit: Visit) -> IntArray:
    """Code the DC plane; the magnitudes of its residuals, `(by * bx,)`."""
    values = np.zeros(neighbourhood.cells, np.int32)
    residual = np.zeros(neighbourhood.cells, np.int32)
    known = neighbourhood.residual
    for step in dc_steps(neighbourhood.blocks):
        around = values[step.neighbours]
        prediction, spread = step.predict(around)
        spread_w, before_w, bias = model.dc[step.level, step.turn].tolist()
        context = spread_w * spread + before_w * known[step.at] + bias
        index = model.dc_index[np.minimum(context >> DC_SHIFT, model.dc_index.size - 1)]
        values[step.at] = visit(c, step.at, index, prediction)
        residual[step.at] = np.abs(np.clip(values[step.at] - prediction, -FAR, FAR))
    neighbourhood.put(0, 0, 1, values.reshape(1, *neighbourhood.blocks))
    return residual


class Neighbourhood:
    """Magnitudes known so far, of the component at hand and the ones before it."""

    def __init__(self, blocks: tuple[int, int]) -> None:
        self.blocks = blocks
        self.cells = blocks[0] * blocks[1]
        self.residual: IntArray = np.zeros(self.cells, np.int32)
        shape = (DIAGONALS + FRONT + 1, N + FRONT + 2, *blocks)
        # features are sums of at most five of these, each at most 4 * LARGEST
        self._planes = [np.zeros(shape, np.int16) for _ in range(3)]
        self._around = [np.zeros(shape, np.int16) for _ in range(2)]
        self._all = np.zeros((DIAGONALS, N, *blocks), np.int32)

    def begin(self) -> None:
        """Start a component: the planes of the one before become `before`."""
        self._planes.insert(0, self._planes.pop())
        self._around.insert(0, self._around.pop())
        self._planes[0][...] = 0
        self._around[0][...] = 0

    def end(self, residual: IntArray) -> None:
        """Finish a component."""
        self.residual = residual
        self._all += self._planes[0][FRONT:-1, FRONT:-2]

    def put(self, d: int, u0: int, u1: int, values: IntArray) -> None:
        """The values of rows u0..u1 of diagonal d, `(u1 - u0, by, bx)`."""
        at = (d + FRONT, slice(u0 + FRONT, u1 + FRONT))
        near = np.minimum(np.maximum(values, -LARGEST), LARGEST)
        magnitudes = np.abs(near, out=near).astype(np.int16)
        self._planes[0][at] = magnitudes
        self._around[0][at] = four_beside(magnitudes)

    def own(self, d: int, u0: int, u1: int) -> list[Features]:
        """The OWN features of rows u0..u1 of diagonal d, `(u1 - u0, by, bx)` each."""
        a, n = self._planes[0], self._around[0]

        def at(plane: Features, back: int, shift: int) -> Features:
            return plane[d - back + FRONT, u0 - shift + FRONT : u1 - shift + FRONT]

        return [
            at(a, 1, 1) + at(a, 1, 0),
            at(a, 1, 2) + at(a, 1, -1),
            at(a, 2, 1) + at(a, 2, 2) + at(a, 2, 0),
            at(a, 3, 2) + at(a, 3, 1) + at(a, 3, 3) + at(a, 3, 0),
            at(a, 4, 2) + at(a, 4, 1) + at(a, 4, 3) + at(a, 4, 0) + at(a, 4, 4),
            at(n, 1, 1) + at(n, 1, 0),
            at(n, 2, 1) + at(n, 2, 2) + at(n, 2, 0),
        ]

    def before(self, diagonals: int = DIAGONALS) -> list[Features | IntArray]:
        """The BEFORE features, `(diagonals, N, by, bx)` each."""
        first, second, around = self._planes[1], self._planes[2], self._around[1]
        inner = (slice(FRONT, FRONT + diagonals), slice(FRONT, FRONT + N))
        return [
            first[inner],
            _ring(first, diagonals),
            around[inner],
            second[inner],
            _ring(second, diagonals),
            self._all[:diagonals],
        ]

    def weighted_before(self, model: ContextModel, c: int, diagonals: int) -> IntArray:
        """What the components before give to the contexts of the first diagonals of component c."""
        zone = skewed_zones()[:diagonals]
        bias = model.bias[zone, min(c, COMPONENTS - 1)][..., None, None]
        context = np.broadcast_to(bias, (*zone.shape, *self.blocks)).copy()
        if c:
            for k, feature in enumerate(self.before(diagonals)):
                context += model.before[zone, k][..., None, None] * feature
        return context


def four_beside(values: Features) -> Features:
    """Sum over the blocks above, below, left and right; at an edge the inner one counts twice."""
    out = np.zeros_like(values)
    for sums, known in ((out, values), (out.swapaxes(1, 2), values.swapaxes(1, 2))):
        if known.shape[1] > 1:
            sums[:, 1:] += known[:, :-1]
            sums[:, :-1] += known[:, 1:]
            sums[:, 0] += known[:, 1]
            sums[:, -1] += known[:, -2]
    return out


def _ring(plane: Features, diagonals: int) -> Features:
    """Sum over (u - 1, v), (u, v - 1), (u + 1, v), (u, v + 1) of a skewed plane."""

    def moved(d: int, u: int) -> Features:
        return plane[FRONT + d : FRONT + d + diagonals, FRONT + u : FRONT + u + N]

    return moved(-1, -1) + moved(-1, 0) + moved(1, 1) + moved(1, 0)
