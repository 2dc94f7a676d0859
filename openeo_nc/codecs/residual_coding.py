"""A residual's integers to an entropy-coded stream and back.

        for each band and pass:  flags, weights if flagged, what predictions leave of the integers
        for each band of wide integers:  the low bits that were split off before, as they are

The encoder fits weights to each pass (`residual_fit`) and keeps them where they save more than they
cost. A band without residual is not coded, one of repeated pixels once a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs import entropy, residual_fit
from openeo_nc.codecs import residual_tables as tables
from openeo_nc.codecs.cells import enlarge
from openeo_nc.codecs.entropy import Tables
from openeo_nc.codecs.residual_context import (
    LARGEST,
    LIMIT,
    Context,
    Floats,
    Neighbourhood,
    Pass,
    Scale,
    Weights,
    passes,
    usual_scale,
)
from openeo_nc.errors import PayloadError

Mask = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int32]
Visit = Callable[[int, Pass, Neighbourhood, Mask | None], tuple[Floats, Context]]
"""(band, pass, what is known, valid pixels) -> integers of the pass, and their context."""
FEWEST = 48
"""Passes of fewer pixels bring no weights."""
_WEIGHT_TABLE = 43 * tables.PHASES
_USUAL, _OWN, _SAME, _LEAST = range(4)
"""Weights of a scale: the usual ones, a pass's own, those of the same pass of the band before, or the
usual ones but for the least scale."""
_PIECE = 8
"""Most low bits that are coded at a time."""


def encode(
    values: IntArray, mask: Mask | None, cells: Sequence[int], shifts: Sequence[int]
) -> bytes:
    """The stream of `(bands, y, x)` int32.

    Parameters
    ----------
    mask
        `(bands, y, x)`, True where nothing is coded: zeros, which `decode` gives back.
    cells
        Side of the cells of equal pixels of each band; 0 for a band of zeros.
    shifts
        Low bits of each band that are coded without a context.
    """
    encoder = entropy.Encoder()
    scales: dict[int, Scale | None] = {}

    def visit(
        band: int, where: Pass, known: Neighbourhood, valid: Mask | None
    ) -> tuple[Floats, Context]:
        exact = (values[band, where.rows, where.columns] >> shifts[band]).astype(np.float64)
        weights = Weights()
        if where.size >= FEWEST:
            usual, before = usual_scale(where, known), scales.get(where.number)
            weights = residual_fit.choose(where, known, exact, valid, before)
            _push_weights(encoder, weights, usual, before)
            scales[where.number] = weights.scale
        context = Context.of(where, known, weights)
        symbols = context.symbols(exact)
        chosen = slice(None) if valid is None else valid
        encoder.push(
            symbols[chosen].reshape(-1), context.index[chosen].reshape(-1), tables.tables()
        )
        return exact, context

    _walk(values.shape, mask, cells, visit)
    for band, shift, coded in _low_bits(values.shape, mask, cells, shifts):
        low = values[band][coded] & ((1 << shift) - 1)
        for at in range(0, shift, _PIECE):
            count = min(_PIECE, shift - at)
            piece = (low >> at) & ((1 << count) - 1)
            encoder.push(piece, np.full(low.size, count - 1, np.uint8), _flat())
    return encoder.finish()


def decode(
    data: bytes,
    shape: tuple[int, int, int],
    mask: Mask | None,
    cells: Sequence[int],
    shifts: Sequence[int],
) -> IntArray:
    """The integers `(bands, y, x)` of a stream that `encode` wrote; PayloadError."""
    decoder = entropy.Decoder(data)
    values = np.zeros(shape, np.int32)
    scales: dict[int, Scale | None] = {}

    def visit(
        band: int, where: Pass, known: Neighbourhood, valid: Mask | None
    ) -> tuple[Floats, Context]:
        weights = Weights()
        if where.size >= FEWEST:
            usual, before = usual_scale(where, known), scales.get(where.number)
            weights = _pull_weights(decoder, len(known.values(where)), usual, before)
            scales[where.number] = weights.scale
        context = Context.of(where, known, weights)
        symbols = np.zeros(where.shape, np.int32)
        chosen = slice(None) if valid is None else valid
        index = context.index[chosen]
        symbols[chosen] = decoder.pull(index.reshape(-1), tables.tables()).reshape(index.shape)
        exact = context.values(symbols)
        if valid is not None:
            exact = np.where(valid, exact, 0)
        if np.abs(exact).max() * 2.0 ** shifts[band] > LARGEST:
            raise PayloadError(f"a residual holds an integer beyond {LARGEST}")
        values[band, where.rows, where.columns] = exact.astype(np.int32) << shifts[band]
        return exact, context

    _walk(shape, mask, cells, visit)
    for band, shift, coded in _low_bits(shape, mask, cells, shifts):
        low = np.zeros(int(coded.sum()), np.int32)
        for at in range(0, shift, _PIECE):
            count = min(_PIECE, shift - at)
            piece = decoder.pull(np.full(low.size, count - 1, np.uint8), _flat())
            if piece.size and not 0 <= piece.min() <= piece.max() < 1 << count:
                raise PayloadError("a residual holds low bits that are none")
            low |= piece << at
        values[band][coded] |= low
    decoder.finish()
    for band, cell in enumerate(cells):
        if cell > 1:
            values[band] = enlarge(values[band, ::cell, ::cell], cell, shape[1:])
    return values


def _walk(shape: tuple[int, ...], mask: Mask | None, cells: Sequence[int], visit: Visit) -> None:
    """Visit the passes of all bands in order."""
    known = Neighbourhood((shape[1], shape[2]))
    for band, cell in enumerate(cells):
        known.begin()
        if not cell:
            continue
        for where in passes((shape[1], shape[2]), cell):
            valid = None if mask is None else ~mask[band, where.rows, where.columns]
            if valid is not None and valid.all():
                valid = None
            exact, context = visit(band, where, known, valid)
            errors = context.errors(exact)
            known.put(where, exact, errors if valid is None else np.where(valid, errors, 0))
        known.end(cell)


def _low_bits(
    shape: tuple[int, ...], mask: Mask | None, cells: Sequence[int], shifts: Sequence[int]
) -> list[tuple[int, int, Mask]]:
    """(band, bits, where `(y, x)` they are coded) of the bands that have such bits."""
    out = []
    for band, (cell, shift) in enumerate(zip(cells, shifts, strict=True)):
        if cell and shift:
            coded = np.zeros(shape[1:], bool)
            coded[::cell, ::cell] = True
            out.append((band, shift, coded if mask is None else coded & ~mask[band]))
    return out


def _push_weights(
    encoder: entropy.Encoder, weights: Weights, usual: Scale, before: Scale | None
) -> None:
    """Flags, and the numbers that they announce."""

    def push(numbers: Sequence[int], table: int, of: Tables) -> None:
        index = np.full(len(numbers), table, np.uint8)
        encoder.push(np.array(numbers, np.int32), index, of)

    mode = _mode(weights.scale, usual, before)
    push([int(weights.mean is not None) + 2 * mode], 2, _flat())
    push(weights.mean or (), _WEIGHT_TABLE, tables.tables())
    sent = {_OWN: slice(None), _LEAST: slice(-1, None)}.get(mode, slice(0))
    push((weights.scale or usual)[sent], _WEIGHT_TABLE, tables.tables())


def _pull_weights(
    decoder: entropy.Decoder, means: int, usual: Scale, before: Scale | None
) -> Weights:
    """What `_push_weights` wrote; `means` weights belong to a prediction."""

    def pull(count: int, table: int, of: Tables, low: int, high: int) -> tuple[int, ...]:
        numbers = decoder.pull(np.full(count, table, np.uint8), of)
        if count and not low <= numbers.min() <= numbers.max() <= high:
            raise PayloadError(f"a residual holds weights outside {low}..{high}")
        return tuple(numbers.tolist())

    (flags,) = pull(1, 2, _flat(), 0, 7)
    mean = pull(means, _WEIGHT_TABLE, tables.tables(), -LIMIT, LIMIT) if flags & 1 else None
    mode, scale = flags >> 1, None
    if mode == _SAME:
        scale = before
    elif mode:
        count = len(usual) if mode == _OWN else 1
        sent = pull(count, _WEIGHT_TABLE, tables.tables(), 0, LIMIT)
        scale = (*usual[: len(usual) - count], *sent)
    if scale is not None and (len(scale) != len(usual) or scale[-1] >= tables.SCALES):
        raise PayloadError("a residual holds weights of another pass, or of no scale")
    return Weights(mean=mean, scale=scale)


def _mode(scale: Scale | None, usual: Scale, before: Scale | None) -> int:
    """How a pass says which weights its scale has."""
    if scale is None:
        return _USUAL
    if scale == before:
        return _SAME
    return _LEAST if scale[:-1] == usual[:-1] else _OWN


@cache
def _flat() -> Tables:
    """Table `n - 1` of 2^n equally frequent symbols."""
    rows = np.zeros((_PIECE, (1 << _PIECE) + 1), np.uint32)
    for n in range(1, _PIECE + 1):
        rows[n - 1, : 1 << n] = (entropy.TOTAL - 1) >> n
        rows[n - 1, -1] = entropy.TOTAL - rows[n - 1].sum()
    return Tables(freq=rows, offset=np.zeros(_PIECE, np.int32))
