"""Decode streams of openeo_nc.codecs.entropy without it and without constriction, slowly.

Written from the description in entropy.py, with Python integers only, so that payloads stay
readable whatever becomes of the library. `ReferenceDecoder` has the interface of
`entropy.Decoder`; a test puts it in that one's place and decodes whole payloads.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

STATE_WORD = 32
PRECISION = 24
TABLE_PRECISION = 16


def cdf24(freq: list[int]) -> list[int]:
    """Cumulative frequencies at 24 bits of frequencies that sum to 2^16."""
    free = (1 << PRECISION) - len(freq)
    bounds, total = [], 0
    for symbol, f in enumerate(freq):
        bounds.append((total * free >> TABLE_PRECISION) + symbol)
        total += f
    assert total == 1 << TABLE_PRECISION
    return [*bounds, 1 << PRECISION]


def uniform24(bits: int) -> list[int]:
    """Cumulative frequencies at 24 bits of 2^bits equally likely symbols."""
    return [symbol << (PRECISION - bits) for symbol in range((1 << bits) + 1)]


class ReferenceDecoder:
    """Pops symbols off an ANS stack: state below 2^64, refilled by 32 bit words from the end."""

    def __init__(self, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.state = 0
        while self.words and self.state < 1 << STATE_WORD:
            self.state = self.state << STATE_WORD | self.words.pop()
        self._alphabets = {}

    def symbol(self, cdf: list[int]) -> int:
        """One symbol of a model given by its 24 bit cumulative frequencies."""
        quantile = self.state & ((1 << PRECISION) - 1)
        symbol = bisect_right(cdf, quantile) - 1
        width = cdf[symbol + 1] - cdf[symbol]
        self.state = (self.state >> PRECISION) * width + quantile - cdf[symbol]
        if self.state < 1 << STATE_WORD and self.words:
            self.state = self.state << STATE_WORD | self.words.pop()
        return symbol

    def pull(self, index, tables) -> np.ndarray:
        """Symbols of one push, in the order of the arrays that were pushed."""
        values = [0] * len(index)
        escaped = []
        for table in sorted({int(t) for t in index}):
            cdf, low = self._alphabet(tables, table)
            for position in (i for i, t in enumerate(index) if t == table):
                rank = self.symbol(cdf)
                values[position] = low + rank
                if rank == len(cdf) - 2:
                    escaped.append((position, low, low + rank))
        prefix_cdf = cdf24(prefix_frequencies())
        prefixes = [self.symbol(prefix_cdf) for _ in escaped]
        numbers = [1 << prefix for prefix in prefixes]
        for prefix in sorted(set(prefixes) - {0}):
            parts = [(0, prefix)] if prefix <= 16 else [(0, 16), (16, prefix - 16)]
            for shift, bits in parts:
                cdf = uniform24(bits)
                for i in (i for i, p in enumerate(prefixes) if p == prefix):
                    numbers[i] += self.symbol(cdf) << shift
        for (position, low, high), number in zip(escaped, numbers, strict=True):
            distance, below = divmod(number - 1, 2)
            values[position] = low - 1 - distance if below else high + distance
        return np.array(values, np.int32)

    def finish(self) -> None:
        """Nothing may be left."""
        assert self.state == 0
        assert not self.words

    def _alphabet(self, tables, table: int) -> tuple[list[int], int]:
        key = (id(tables), table)
        if key not in self._alphabets:
            freq = [int(f) for f in tables.freq[table]]
            *inner, escape = freq
            first = next(i for i, f in enumerate(inner) if f)
            last = next(i for i in reversed(range(len(inner))) if inner[i])
            cdf = cdf24([*inner[first : last + 1], escape])
            self._alphabets[key] = cdf, int(tables.offset[table]) + first
        return self._alphabets[key]


def prefix_frequencies() -> list[int]:
    """Exp-Golomb prefixes 0..33: halves, quarters, ..., at least 1; the first gives up the rest."""
    freq = [max(1 << 15 >> k, 1) for k in range(34)]
    return [freq[0] - (sum(freq) - (1 << 16)), *freq[1:]]
