"""The residual layer: its integers come back, whatever they are, and cost what they tell."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_ans import ReferenceDecoder

from openeo_nc.codecs import entropy, residual_coding, residual_tables
from openeo_nc.codecs.residual import Residual
from openeo_nc.codecs.residual_context import LARGEST, passes
from openeo_nc.errors import PayloadError


def residual(values, steps=None) -> Residual:
    steps = np.ones(len(values)) if steps is None else np.asarray(steps, float)
    return Residual(steps=steps, values=np.asarray(values, np.int32))


def there_and_back(r: Residual, mask=None) -> bytes:
    data = r.to_bytes(mask)
    back = Residual.from_bytes(data, r.values.shape, mask)
    np.testing.assert_array_equal(back.values, r.values)
    np.testing.assert_array_equal(back.steps, r.steps)
    assert back.values.dtype == np.int32
    return data


def order_0(values) -> float:
    """Bits a symbol of bands coded by their own histograms, which cost nothing."""
    bits = 0.0
    for band in values:
        share = np.unique(band, return_counts=True)[1] / band.size
        bits -= band.size * float((share * np.log2(share)).sum())
    return bits / values.size


def scene(bands, height, width, seed=0):
    """Integers that are alike in neighbours and bands, and louder in one half."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 1, (height, width)).cumsum(1)
    common -= np.linspace(common[:, :1], common[:, -1:], width, axis=1)[..., 0]
    loud = np.where(np.arange(width) < width // 2, 0.3, 3)
    own = rng.normal(0, 1, (bands, height, width))
    return np.rint(2 * common + loud * own).astype(np.int32)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 21), st.integers(1, 21)),
    spread=st.sampled_from([0, 0.01, 0.3, 5, 300, 1e5, float(LARGEST)]),
    cell=st.sampled_from([1, 2, 3, 6]),
    masked=st.sampled_from([0, 0.3, 0.97, 1]),
    seed=st.integers(0, 99),
)
def test_integers_come_back(shape, spread, cell, masked, seed):
    rng = np.random.default_rng(seed)
    values = np.rint(rng.uniform(-1, 1, shape) * spread).astype(np.int64)
    values[:, ::7] = np.rint(rng.uniform(-1, 1, shape)[:, ::7] * 30)
    values = np.repeat(np.repeat(values, cell, 1), cell, 2)[:, : shape[1], : shape[2]]
    mask = None
    if masked:
        mask = rng.random(shape) < masked
        values[mask] = 0
    steps = rng.choice([0.5, 1.98, 41.0], shape[0]) * values.any(axis=(1, 2))
    there_and_back(residual(values, steps), mask)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (5, 7), (12, 24), (40, 41)])
@pytest.mark.parametrize("cell", [1, 2, 3, 6])
def test_passes_take_each_cell_once_and_know_what_they_look_at(shape, cell):
    known = np.zeros(shape, bool)
    for where in passes(shape, cell):
        grid = known[where.rows, where.columns]
        assert grid.shape == where.shape
        assert not grid.any()
        rows, columns = (
            np.arange(n)[part] for n, part in zip(shape, (where.rows, where.columns), strict=True)
        )
        for dy, dx in where.beside:
            y, x = np.meshgrid(rows + dy, columns + dx, indexing="ij")
            inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            assert known[y[inside], x[inside]].all()
        known[where.rows, where.columns] = True
    assert known[::cell, ::cell].all()
    assert known.sum() == known[::cell, ::cell].size


def test_neighbours_and_bands_before_save_bits():
    values = scene(6, 96, 90)
    bits = 8 * len(there_and_back(residual(values))) / values.size
    assert bits < 0.75 * order_0(values)


def test_what_a_bound_hardly_needs_costs_hardly_anything():
    rng = np.random.default_rng(1)
    values = np.zeros((12, 128, 128), np.int32)
    assert len(there_and_back(residual(values, np.zeros(12)))) < 30
    values[:, 40:44, 60:90] = rng.integers(-1, 2, (12, 4, 30))
    bits = 8 * len(there_and_back(residual(values))) / values.size
    assert bits < 0.03
    spread = (rng.random(values.shape) < 0.002).astype(np.int32)
    bits = 8 * len(there_and_back(residual(spread))) / values.size
    assert bits < order_0(spread) + 0.008


def test_cells_of_equal_integers_cost_one():
    fine = scene(3, 60, 60)
    cells = np.repeat(np.repeat(fine[:, :30, :30], 2, 1), 2, 2)
    part = len(there_and_back(residual(fine[:, :30, :30])))
    assert len(there_and_back(residual(cells))) < 1.1 * part


def test_wide_integers_cost_about_their_bits():
    rng = np.random.default_rng(2)
    values = rng.integers(-(1 << 20), 1 << 20, (2, 64, 64)).astype(np.int32)
    assert 8 * len(there_and_back(residual(values))) / values.size < 21.5


def test_steps_are_stored_once_where_they_are_equal():
    values = np.zeros((200, 2, 2), np.int32)
    alike = len(there_and_back(residual(values, np.full(200, 3.0))))
    assert alike < 250
    there_and_back(residual(values, np.arange(200.0)))


def test_the_reference_decoder_reads_the_stream(monkeypatch):
    values = scene(3, 40, 33)
    data = residual(values).to_bytes(None)
    monkeypatch.setattr(entropy, "Decoder", ReferenceDecoder)
    back = Residual.from_bytes(data, values.shape, None)
    np.testing.assert_array_equal(back.values, values)


def test_tables_are_those_that_streams_were_written_with():
    """Float64 operations that IEEE 754 rounds alike everywhere; another sum is another format."""
    tables = residual_tables.tables()
    assert tables.freq.shape == (256, 2048)
    assert tables.freq[0].sum() == entropy.TOTAL
    assert zlib.crc32(tables.freq.astype("<u4").tobytes()) == 0xE9D2459A


@pytest.mark.parametrize("bits", range(1, 9))
def test_low_bits_are_flat(bits):
    row = residual_coding._flat().freq[bits - 1]
    assert len(set(row[: 1 << bits].tolist())) == 1
    assert row[1 << bits :].sum() < 300


def test_bytes_that_are_no_residual_are_typed_errors():
    values = scene(3, 20, 24)
    data = residual(values, [1.0, 1.0, 2.0]).to_bytes(None)
    rng = np.random.default_rng(3)
    for n in range(27):
        with pytest.raises(PayloadError):
            Residual.from_bytes(data[:n], values.shape, None)
    for _ in range(300):
        wrong = bytearray(data)
        at = int(rng.integers(len(data)))
        wrong[at : at + 3] = rng.bytes(len(wrong[at : at + 3]))
        try:
            back = Residual.from_bytes(bytes(wrong), values.shape, None)
        except PayloadError:
            continue
        assert back.values.shape == values.shape
        assert np.abs(back.values.astype(np.int64)).max() <= LARGEST
