"""The residual layer of a bounded payload: integers a pixel that bring the error below a bound.

        residual = round((x - values) / step)         values: the codec's, before rounding
        x_hat    = round(values + step * residual)    |x - x_hat| <= max_error

One step a band. The residual is added before rounding, so that a difference between two devices'
`values` costs the bound what it is, and not a whole number.

    bytes: u16 number of distinct steps, f8 each, u16 a band which one if there are several,
           u8 a band: side of its cells of equal integers, 0 if it is not coded, + 8 * low bits
           that are coded apart; the stream of `residual_coding`
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import residual_coding as coding
from openeo_nc.codecs.cells import REPEATS, repeat_of
from openeo_nc.codecs.residual_context import LARGEST
from openeo_nc.errors import PayloadError

_WIDE = 48.0
"""Mean magnitude from which on low bits are coded apart, since no context tells them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Residual:
    """What is added to a reconstruction."""

    steps: npt.NDArray[np.float64]
    """`(bands,)` in the pixels' units; 0 for a band that needs none."""
    values: npt.NDArray[np.int32]
    """`(bands, y, x)` int32 in steps, at most LARGEST; 0 where pixels are missing."""

    def added_to(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`(bands, y, x)` values with the residual."""
        return values + self.steps[:, None, None] * self.values

    @property
    def parts(self) -> list[npt.NDArray[Any] | bytes | None]:
        """What the content digest covers."""
        return [self.steps, self.values]

    def to_bytes(self, mask: npt.NDArray[np.bool_] | None) -> bytes:
        """The residual section of a payload; the mask `(bands, y, x)` is in another one."""
        distinct, which = np.unique(self.steps, return_inverse=True)
        cells = [
            _cell(band, None if mask is None else mask[i]) for i, band in enumerate(self.values)
        ]
        shifts = [_shift(band) for band in self.values]
        head = struct.pack("<H", distinct.size) + distinct.astype("<f8").tobytes()
        if distinct.size > 1:
            head += which.astype("<u2").tobytes()
        head += bytes(cell + 8 * shift for cell, shift in zip(cells, shifts, strict=True))
        return head + coding.encode(self.values, mask, cells, shifts)

    @classmethod
    def from_bytes(
        cls, data: bytes, shape: tuple[int, int, int], mask: npt.NDArray[np.bool_] | None
    ) -> Residual:
        """Inverse of `to_bytes`; PayloadError if the bytes are no residual of such a tile."""
        bands, count = shape[0], int.from_bytes(data[:2], "little")
        indexed = 2 * bands if count > 1 else 0
        at = 2 + 8 * count + indexed
        if not 1 <= count <= bands or len(data) < at + bands:
            raise PayloadError(f"a residual of {bands} bands has {count} steps, {len(data)} bytes")
        distinct = np.frombuffer(data, "<f8", count, 2).astype(np.float64)
        which = (
            np.frombuffer(data, "<u2", bands, 2 + 8 * count) if indexed else np.zeros(bands, int)
        )
        cells = [byte & 7 for byte in data[at : at + bands]]
        shifts = [byte >> 3 for byte in data[at : at + bands]]
        if (
            not (np.isfinite(distinct) & (distinct >= 0)).all()
            or which.max() >= count
            or not {0, *REPEATS}.issuperset(cells)
            or max(shifts) > LARGEST.bit_length()
        ):
            raise PayloadError("a residual gives steps or cells that do not exist")
        values = coding.decode(data[at + bands :], shape, mask, cells, shifts)
        return cls(steps=distinct[which], values=values)


def _cell(band: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_] | None) -> int:
    """Side of the cells of equal integers of a band; 0 if there is nothing to code."""
    if not band.any():
        return 0
    return repeat_of(band) if mask is None else math.gcd(repeat_of(band), repeat_of(mask))


def _shift(band: npt.NDArray[np.int32]) -> int:
    """Low bits of a band's integers that no context tells."""
    mean = float(np.abs(band.astype(np.float64)).mean())
    return max(0, math.ceil(math.log2(mean / _WIDE))) if mean > _WIDE else 0
