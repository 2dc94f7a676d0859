"""Chooses the hyperprior codec's integers: rate-distortion optimised quantisation, in coding order.

A latent that is rarely non-zero in its context costs many bits. Each is rounded to whichever of the
nearest integer, the next smaller one and zero has the least squared error + LMBDA * bits, with the
bits of the table that what was decided before selects. The decoder needs to know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.entropy import TOTAL, Tables
from openeo_nc.codecs.hyperprior_entropy import IntegerEntropyModel, Symbols

IntArray = npt.NDArray[np.int32]
LMBDA = 0.07
"""Squared steps that a bit is worth. Half of what trained the networks, which shrink latents as well;
chosen on training places, where 0.05 to 0.09 are within 1%."""
_ESCAPE_BITS = 10.0
"""Bits behind an escape, about."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """Integers, and what was found on the way that coding them would find again."""

    y: IntArray
    """`(latents, y, x)`."""
    z: IntArray
    """Hyper-latents that the tables were chosen by; coding y with these costs least."""
    symbols: Symbols
    """What is coded of y given z."""


class Quantiser:
    """Rounds latents for one entropy model."""

    def __init__(self, model: IntegerEntropyModel) -> None:
        self._model = model

    def quantise(
        self, y: npt.NDArray[np.float64], z: IntArray, quality: float, gain: npt.NDArray[np.float64]
    ) -> Quantised:
        """Integers of real latents.

        Parameters
        ----------
        y
            `(latents, y, x)`, in the quantiser's units.
        z
            Hyper-latents of y rounded.
        quality
            As the payload stores it.
        gain
            `(latents,)`: quantiser units a step, so that errors of channels compare.
        """
        weights = np.broadcast_to((LMBDA * gain**2)[:, None, None], y.shape)
        values, prices = (self._model.by_pass(v) for v in (y, weights))

        symbols: Symbols = []

        def choose(mean: Any, table: npt.NDArray[np.uint8], mirrored: Any) -> IntArray:
            value, price = next(values), next(prices)
            chosen = np.rint(value).astype(np.int32)
            at = np.flatnonzero(chosen)  # what rounds to zero stays zero
            chosen[at] = self._best(value[at], price[at], mean[at], table[at], mirrored[at])
            distance = chosen - mean
            symbols.append((np.where(mirrored, -distance, distance).astype(np.int32), table))
            return chosen

        integers = self._model.run(z, quality, (y.shape[1], y.shape[2]), choose)
        return Quantised(y=integers, z=z, symbols=symbols)

    def _best(
        self,
        value: npt.NDArray[np.float64],
        price: npt.NDArray[np.float64],
        mean: npt.NDArray[np.int64],
        table: npt.NDArray[np.uint8],
        mirrored: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:
        """The cheapest of the nearest integer, the next smaller one and zero, `(n,)` each."""
        nearest = np.rint(value)
        best, least = nearest, np.full(value.shape, np.inf)
        for candidate in (nearest, nearest - np.sign(nearest), np.zeros_like(nearest)):
            distance = candidate.astype(np.int64) - mean
            bits = self._bits_of(np.where(mirrored, -distance, distance), table)
            cost = (value - candidate) ** 2 + price * bits
            best = np.where(cost < least, candidate, best)
            least = np.minimum(cost, least)
        return np.asarray(best)

    def _bits_of(self, symbols: npt.NDArray[Any], table: npt.NDArray[np.uint8]) -> Any:
        column = symbols - self._model.y_tables.offset[table]
        outside = (column < 0) | (column >= self._bits.shape[1])
        bits = self._bits[table, np.where(outside, 0, column)]
        return np.where(outside, self._escape[table], bits)

    @cached_property
    def _escape(self) -> npt.NDArray[np.float64]:
        return np.asarray(_ESCAPE_BITS - np.log2(self._model.y_tables.freq[:, -1] / TOTAL))

    @cached_property
    def _bits(self) -> npt.NDArray[np.float64]:
        """`(tables, symbols)`: bits of each symbol."""
        tables: Tables = self._model.y_tables
        freq = tables.freq[:, :-1].astype(np.float64)
        coded = -np.log2(np.where(freq > 0, freq, 1) / TOTAL)
        return np.where(freq > 0, coded, self._escape[:, None])
