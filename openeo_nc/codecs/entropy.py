"""Code integers with frozen frequency tables and ANS: the entropy coder of every codec here.

A stream is one ANS stack (constriction's `DefaultAnsCoder`: 64 bit state, 32 bit words, 24 bit
precision) that holds the pushes in order. One push codes its symbols grouped by table:

    for each table in use, ascending:   the symbols of that table, in array order
    for the escaped symbols, if any:    one Exp-Golomb prefix each, in the order just coded,
                                        then the suffixes, by ascending prefix: the low 16 bits
                                        of all of one prefix, then their bits above those

A group is one vectorised call, so a call costs microseconds however the tables mix. Everything
that decoding reads is an integer: frequencies of k / 2^16 (exact in float64) that constriction
maps to 24 bits as `cdf24[s] = floor(cdf16[s] * (2^24 - n) / 2^16) + s` for n symbols, the escape
included. tests/reference_ans.py decodes the same streams in plain Python from this description.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from openeo_nc.errors import InvalidParameterError, PayloadError, WeightsInvalidError

PRECISION = 16
"""Frequencies of a table sum to 2 to this power."""
TOTAL = 1 << PRECISION
_SUFFIX_LOW = 16
_LONGEST_PREFIX = 33  # of 2 * 2^32, twice the widest distance between two int32

IntArray = npt.NDArray[np.int32]
IndexArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """Frequency tables that share one set of indexes; each has an escape for values outside it."""

    freq: npt.NDArray[np.uint32]
    """`(n_tables, n_symbols + 1)`, each row sums to 2^16. The last column is the escape and at
    least 1. Zeros before the first and after the last non-zero symbol of a row narrow that row:
    such values are escaped. Codecs ship these integers with their weights."""
    offset: IntArray
    """`(n_tables,)`: the value that the first column of a row stands for."""

    def __post_init__(self) -> None:
        freq, offset = self.freq, self.offset
        if freq.ndim != 2 or not 1 <= freq.shape[0] <= 256 or freq.shape[1] < 2:
            raise WeightsInvalidError(
                f"frequency tables have shape {freq.shape}, expected (1..256, n_symbols + 1)"
            )
        if offset.shape != freq.shape[:1]:
            raise WeightsInvalidError(
                f"offsets have shape {offset.shape}, expected {freq.shape[:1]}"
            )
        if freq.dtype.kind != "u" or offset.dtype.kind not in "iu":
            raise WeightsInvalidError(
                f"tables have dtypes {freq.dtype} and {offset.dtype}, expected unsigned and integer"
            )
        if (freq.astype(np.int64).sum(1) != TOTAL).any() or (freq[:, -1] == 0).any():
            raise WeightsInvalidError(f"a table does not sum to {TOTAL} or has no escape")
        if not freq[:, :-1].any(1).all():
            raise WeightsInvalidError("a table holds the escape only")
        last = offset.astype(np.int64) + freq.shape[1]
        if offset.min() < -(2**31) or last.max() > 2**31 - 1:
            raise WeightsInvalidError("a table reaches outside int32")

    @classmethod
    def from_pmf(cls, pmf: npt.NDArray[np.float64], offset: npt.ArrayLike) -> Tables:
        """Quantise probabilities; the same input gives the same integers on one machine.

        For training: a codec stores the integers, since another machine's `exp` may differ.

        Parameters
        ----------
        pmf
            `(n_tables, n_symbols)` float64, finite, >= 0, rows sum to at most 1. What is missing
            to 1 goes to the escape, as do the tails below half of 2^-16.
        offset
            `(n_tables,)` integers: the value of the first column.
        """
        pmf = np.asarray(pmf, np.float64)
        if pmf.ndim != 2 or not np.isfinite(pmf).all() or (pmf < 0).any():
            raise InvalidParameterError("pmf must be (n_tables, n_symbols), finite and >= 0")
        if (pmf.sum(1) > 1 + 1e-6).any() or pmf.shape[1] >= TOTAL // 2:
            raise InvalidParameterError("a row of pmf sums to more than 1 or is too long")
        freq = np.stack([_quantise(row) for row in pmf])
        return cls(freq=freq, offset=np.asarray(offset).astype(np.int32))

    @cached_property
    def _spans(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First column and number of columns of each row's own alphabet."""
        used = self.freq[:, :-1] > 0
        first = used.argmax(1)
        return first, used.shape[1] - used[:, ::-1].argmax(1) - first

    @cached_property
    def low(self) -> IntArray:
        """`(n_tables,)` int32: smallest value that each table codes without escape."""
        return (self.offset + self._spans[0]).astype(np.int32)

    @cached_property
    def size(self) -> npt.NDArray[np.uint32]:
        """`(n_tables,)` uint32: number of values that each table codes without escape."""
        return self._spans[1].astype(np.uint32)

    @cached_property
    def models(self) -> tuple[Any, ...]:
        """constriction's model of each table; symbol `size` is the escape."""
        return tuple(
            _model(np.append(row[first : first + n], row[-1]))
            for row, first, n in zip(self.freq, *self._spans, strict=True)
        )


def encode(symbols: IntArray, index: IndexArray, tables: Tables) -> bytes:
    """One stream of `(n,)` int32 symbols, each coded by the table that `(n,)` uint8 index names."""
    encoder = Encoder()
    encoder.push(symbols, index, tables)
    return encoder.finish()


def decode(data: bytes, index: IndexArray, tables: Tables) -> IntArray:
    """The `(n,)` int32 symbols of a stream that `encode` wrote with this index; PayloadError."""
    decoder = Decoder(data)
    symbols = decoder.pull(index, tables)
    decoder.finish()
    return symbols


class Encoder:
    """Collects pushes and codes them at the end, backwards, since ANS is a stack."""

    def __init__(self) -> None:
        self._runs: list[tuple[IntArray, Any]] = []

    def push(self, symbols: IntArray, index: IndexArray, tables: Tables) -> None:
        """Append `(n,)` int32 symbols, each coded by the table of `tables` that index names."""
        if symbols.ndim != 1 or symbols.shape != index.shape:
            raise InvalidParameterError(
                f"symbols {symbols.shape} and index {index.shape} must be 1-D and of one length"
            )
        if symbols.dtype != np.int32 or index.dtype != np.uint8:
            raise InvalidParameterError(
                f"symbols are {symbols.dtype} and index {index.dtype}, expected int32 and uint8"
            )
        if not symbols.size:
            return
        group = _Group.of(index, tables)
        symbols = symbols[group.order]
        size = group.spread(tables.size)
        # int32 wraps, so as uint32 a value left of the table is as far outside as one right of it
        coded = np.minimum((symbols - group.spread(tables.low)).view(np.uint32), size)
        escaped = np.flatnonzero(coded == size)
        ranks = coded.view(np.int32)
        for model, start, stop in group.runs(tables):
            self._runs.append((ranks[start:stop], model))
        if escaped.size:
            self._push_escapes(symbols[escaped], index[group.order[escaped]], tables)

    def _push_escapes(self, symbols: IntArray, index: IndexArray, tables: Tables) -> None:
        low = tables.low[index].astype(np.int64)
        above = symbols - (low + tables.size[index])
        number = np.where(above >= 0, 2 * above, 2 * (low - 1 - symbols) + 1) + 1
        prefix = np.frexp(number.astype(np.float64))[1].astype(np.int32) - 1
        self._runs.append((prefix, _prefix_model()))
        for k in np.unique(prefix[prefix > 0]).tolist():
            suffix = number[prefix == k] - (1 << k)
            for shift, bits in _parts(k):
                part = (suffix >> shift) & ((1 << bits) - 1)
                self._runs.append((part.astype(np.int32), _bits_model(bits)))

    def finish(self) -> bytes:
        """The stream; little endian words without the zero bytes at the end."""
        coder = constriction.stream.stack.AnsCoder()
        for ranks, model in reversed(self._runs):
            coder.encode_reverse(ranks, model)
        return bytes(coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


class Decoder:
    """Pulls symbols in the order of the pushes. Any bytes decode to something, in linear time."""

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise PayloadError("an entropy-coded stream ends in a zero byte; none is written so")
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def pull(self, index: IndexArray, tables: Tables) -> IntArray:
        """The next `(n,)` int32 symbols, given the `(n,)` uint8 index that was pushed with them."""
        symbols = np.empty(index.shape, np.int32)
        if not symbols.size:
            return symbols
        group = _Group.of(index, tables)
        ranks = np.empty(index.shape, np.int32)
        for model, start, stop in group.runs(tables):
            ranks[start:stop] = self._coder.decode(model, stop - start)
        values = ranks + group.spread(tables.low)
        escaped = np.flatnonzero(ranks.view(np.uint32) == group.spread(tables.size))
        if escaped.size:
            values[escaped] = self._pull_escapes(index[group.order[escaped]], tables)
        symbols[group.order] = values
        return symbols

    def _pull_escapes(self, index: IndexArray, tables: Tables) -> IntArray:
        prefix: IntArray = self._coder.decode(_prefix_model(), index.size)
        number: npt.NDArray[np.int64] = np.left_shift(np.int64(1), prefix.astype(np.int64))
        for k in np.unique(prefix[prefix > 0]).tolist():
            at = np.flatnonzero(prefix == k)
            for shift, bits in _parts(k):
                part = self._coder.decode(_bits_model(bits), at.size).astype(np.int64)
                number[at] += part << shift
        number -= 1
        low = tables.low[index].astype(np.int64)
        high = low + tables.size[index]
        values = np.where(number & 1, low - 1 - (number >> 1), high + (number >> 1))
        if values.min() < -(2**31) or values.max() > 2**31 - 1:
            raise PayloadError("an entropy-coded stream holds a value outside int32")
        return values.astype(np.int32)

    def finish(self) -> None:
        """Raise PayloadError if the stream holds more than was pulled."""
        if not self._coder.is_empty():
            raise PayloadError("an entropy-coded stream holds more than its symbols")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Symbols sorted by table."""

    order: npt.NDArray[np.intp]
    """What sorts them; in array order within a table."""
    used: npt.NDArray[np.intp]
    """Tables in use, ascending."""
    counts: npt.NDArray[np.intp]
    """Symbols of each of these."""

    @classmethod
    def of(cls, index: IndexArray, tables: Tables) -> _Group:
        counts = np.bincount(index)
        if counts.size > len(tables.freq):
            raise InvalidParameterError(
                f"table index {counts.size - 1} of {len(tables.freq)} tables does not exist"
            )
        used = counts.nonzero()[0]
        return cls(order=index.argsort(kind="stable"), used=used, counts=counts[used])

    def spread(self, of_tables: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What tables have, for every symbol as sorted."""
        return of_tables[self.used].repeat(self.counts)

    def runs(self, tables: Tables) -> Iterator[tuple[Any, int, int]]:
        """(model, start, stop) of each table in use."""
        start = 0
        for table, count in zip(self.used.tolist(), self.counts.tolist(), strict=True):
            yield tables.models[table], start, start + count
            start += count


def _parts(prefix: int) -> list[tuple[int, int]]:
    """(shift, bits) of the parts in which an Exp-Golomb suffix of `prefix` bits is coded."""
    low = (0, min(prefix, _SUFFIX_LOW))
    return [low] if prefix <= _SUFFIX_LOW else [low, (_SUFFIX_LOW, prefix - _SUFFIX_LOW)]


@cache
def _prefix_model() -> Any:
    """2^-(k+1) for an Exp-Golomb prefix k, as unary would cost; 2^-16 for k from 15 on."""
    freq = [1 << max(PRECISION - 1 - k, 0) for k in range(_LONGEST_PREFIX + 1)]
    freq[0] -= sum(freq) - TOTAL
    return _model(np.array(freq))


@cache
def _bits_model(bits: int) -> Any:
    """`bits` bits as they are."""
    return constriction.stream.model.Uniform(1 << bits)


def _model(freq: npt.NDArray[Any]) -> Any:
    # `perfect` is given because its default changes between constriction's releases
    return constriction.stream.model.Categorical(freq.astype(np.float64) / TOTAL, perfect=False)


def _quantise(pmf: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    """Integers that sum to 2^16, the escape last; by largest remainder, each kept one >= 1."""
    kept = np.flatnonzero(pmf * TOTAL >= 0.5)
    first, last = (kept[0], kept[-1]) if kept.size else (pmf.argmax(), pmf.argmax())
    mass = np.zeros(pmf.size + 1)
    mass[first : last + 1] = pmf[first : last + 1] * TOTAL
    mass[-1] = max(TOTAL - mass.sum(), 0)
    freq = np.floor(mass).astype(np.int64)
    inside = np.r_[first : last + 1, pmf.size]
    freq[inside] = np.maximum(freq[inside], 1)
    spare = TOTAL - int(freq.sum())
    if spare > 0:
        largest = np.argsort(-(mass - freq)[inside], kind="stable")[:spare]
        freq[inside[largest]] += 1
    while spare < 0:  # raising small ones to 1 took too much: the most frequent gives it back
        top = int(freq.argmax())
        take = min(-spare, int(freq[top]) // 2)
        freq[top] -= take
        spare += take
    if (left := TOTAL - int(freq.sum())) > 0:
        freq[int(freq.argmax())] += left
    return freq.astype(np.uint32)
