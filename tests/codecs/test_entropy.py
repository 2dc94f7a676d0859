"""The entropy coder against a pure Python decoder and the ideal code length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_ans import ReferenceDecoder

from openeo_nc.codecs.entropy import TOTAL, Decoder, Encoder, Tables, decode, encode
from openeo_nc.errors import InvalidParameterError, PayloadError, WeightsInvalidError

INT32 = np.iinfo(np.int32)


def laplace_tables(n: int = 64, reach: int = 64) -> Tables:
    scales = np.exp(np.linspace(np.log(0.05), np.log(20), n))
    pmf = np.exp(-np.abs(np.arange(-reach, reach + 1)) / scales[:, None])
    return Tables.from_pmf(pmf / pmf.sum(1, keepdims=True) * (1 - 1e-4), np.full(n, -reach))


TABLES = laplace_tables()


def sample(rng: np.random.Generator, n: int, tables: Tables = TABLES):
    """Symbols drawn from their own tables, escapes replaced by far values."""
    index = rng.integers(0, len(tables.freq), n).astype(np.uint8)
    cdf = tables.freq.astype(np.int64).cumsum(1)
    column = (rng.integers(0, TOTAL, n)[:, None] >= cdf[index]).sum(1)
    symbols = (tables.offset[index] + column).astype(np.int32)
    far = column == tables.freq.shape[1] - 1
    symbols[far] = rng.integers(-(10**6), 10**6, far.sum())
    return symbols, index


@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 5000])
def test_round_trip_and_reference(n):
    symbols, index = sample(np.random.default_rng(n), n)
    data = encode(symbols, index, TABLES)
    np.testing.assert_array_equal(decode(data, index, TABLES), symbols)
    reference = ReferenceDecoder(data)
    np.testing.assert_array_equal(reference.pull(index, TABLES), symbols)
    reference.finish()


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-70, 70), st.integers(INT32.min, INT32.max)),
            st.integers(0, 63),
        ),
        max_size=60,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_int32_survives(pairs):
    symbols = np.array([s for s, _ in pairs], np.int32)
    index = np.array([t for _, t in pairs], np.uint8)
    data = encode(symbols, index, TABLES)
    np.testing.assert_array_equal(decode(data, index, TABLES), symbols)
    reference = ReferenceDecoder(data)
    np.testing.assert_array_equal(reference.pull(index, TABLES), symbols)
    reference.finish()


def test_extremes_on_tables_at_the_ends_of_int32():
    freq = np.array([[TOTAL - 2, 1, 1]] * 3, np.uint32)
    tables = Tables(freq=freq, offset=np.array([INT32.min, 0, INT32.max - 3], np.int32))
    values = [INT32.min, INT32.min + 1, -1, 0, 1, 2, INT32.max - 1, INT32.max]
    symbols = np.array(values * 3, np.int32)
    index = np.repeat(np.arange(3), len(values)).astype(np.uint8)
    data = encode(symbols, index, tables)
    np.testing.assert_array_equal(decode(data, index, tables), symbols)
    np.testing.assert_array_equal(ReferenceDecoder(data).pull(index, tables), symbols)


def test_incremental_form_lets_indexes_depend_on_decoded_symbols():
    rng = np.random.default_rng(5)
    other = laplace_tables(3, 5)
    symbols = np.rint(rng.laplace(size=(40, 50)) * 3).astype(np.int32)

    def index_after(previous):
        return np.minimum(np.abs(previous) * 4, 63).astype(np.uint8)

    encoder, previous = Encoder(), np.zeros(50, np.int32)
    for row in symbols:
        encoder.push(row, index_after(previous), TABLES)
        encoder.push(row % 7, np.full(50, 1, np.uint8), other)
        previous = row
    data = encoder.finish()

    for decoder in (Decoder(data), ReferenceDecoder(data)):
        previous = np.zeros(50, np.int32)
        for row in symbols:
            previous = decoder.pull(index_after(previous), TABLES)
            np.testing.assert_array_equal(previous, row)
            np.testing.assert_array_equal(decoder.pull(np.full(50, 1, np.uint8), other), row % 7)
        decoder.finish()


def test_length_is_within_a_thousandth_of_ideal():
    symbols, index = sample(np.random.default_rng(1), 200_000)
    column = symbols - TABLES.offset[index]
    coded = (column >= 0) & (column < TABLES.freq.shape[1] - 1)
    ideal = -np.log2(TABLES.freq[index[coded], column[coded]] / TOTAL).sum() / 8
    data = encode(symbols[coded], index[coded], TABLES)
    assert ideal < len(data) < 1.001 * ideal + 8


def test_an_escaped_symbol_costs_few_bytes():
    index = np.full(1, 0, np.uint8)
    for value in (65, 1000, INT32.max, INT32.min):
        assert len(encode(np.array([value], np.int32), index, TABLES)) <= 10


def test_the_order_of_symbols_is_kept_within_mixed_tables():
    index = np.array([5, 0, 5, 0, 63, 5], np.uint8)
    symbols = np.array([1, 2, -3, -1, 40, 0], np.int32)
    np.testing.assert_array_equal(decode(encode(symbols, index, TABLES), index, TABLES), symbols)


def test_left_over_words_are_an_error():
    symbols, index = sample(np.random.default_rng(2), 400)
    data = encode(symbols, index, TABLES)
    for longer in (data + b"\1\2\3\4", data[:4] + data):
        with pytest.raises(PayloadError, match="more than its symbols"):
            decode(longer, index, TABLES)
    with pytest.raises(PayloadError, match="more than its symbols"):
        decode(data, index[:-100], TABLES)
    with pytest.raises(PayloadError, match="zero byte"):
        decode(data + b"\0", index, TABLES)


def test_random_bytes_end_in_symbols_or_a_typed_error():
    rng = np.random.default_rng(3)
    for _ in range(300):
        data = rng.bytes(int(rng.integers(0, 200)))
        index = rng.integers(0, 64, 100).astype(np.uint8)
        try:
            assert decode(data, index, TABLES).shape == (100,)
        except PayloadError:
            continue


def test_values_outside_int32_are_refused():
    # a table of which the escape is nearly sure: random bytes then hold huge distances
    tables = Tables(freq=np.array([[1, TOTAL - 1]], np.uint32), offset=np.zeros(1, np.int32))
    index = np.zeros(200_000, np.uint8)
    with pytest.raises(PayloadError, match="outside int32"):
        decode(np.random.default_rng(0).bytes(300_000), index, tables)


@pytest.mark.parametrize(
    ("symbols", "index", "told"),
    [
        (np.zeros(3, np.int32), np.zeros(2, np.uint8), "one length"),
        (np.zeros((2, 2), np.int32), np.zeros((2, 2), np.uint8), "1-D"),
        (np.zeros(3, np.int64), np.zeros(3, np.uint8), "int64"),
        (np.zeros(3, np.int32), np.zeros(3, np.int32), "int32 and uint8"),
        (np.zeros(3, np.int32), np.full(3, 64, np.uint8), "64 of 64 tables"),
    ],
)
def test_wrong_arrays_are_named(symbols, index, told):
    with pytest.raises(InvalidParameterError, match=told):
        Encoder().push(symbols, index, TABLES)


@pytest.mark.parametrize(
    ("freq", "offset", "told"),
    [
        ([[TOTAL - 1, 2]], [0], "sum"),
        ([[TOTAL, 0]], [0], "no escape"),
        ([[0, TOTAL]], [0], "escape only"),
        ([[TOTAL - 1, 1]], [0, 0], "offsets"),
        ([TOTAL - 1, 1], [0], "shape"),
        ([[TOTAL - 1, 1]], [INT32.max], "int32"),
    ],
)
def test_wrong_tables_are_refused(freq, offset, told):
    with pytest.raises(WeightsInvalidError, match=told):
        Tables(freq=np.array(freq, np.uint32), offset=np.array(offset, np.int32))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.5, 1))
@settings(max_examples=200, deadline=None)
def test_quantised_tables_are_tables(weights, mass):
    pmf = np.array(weights)
    pmf = pmf / max(pmf.sum(), 1e-9) * mass if pmf.sum() else pmf
    tables = Tables.from_pmf(pmf[None], [3])
    inside = tables.freq[0, :-1].astype(float)
    assert inside.sum() + tables.freq[0, -1] == TOTAL
    # nothing moves by more than the ones that small symbols were raised to
    assert np.abs(inside - pmf * TOTAL).max() <= len(weights) + 2 or not pmf.any()


def test_quantising_keeps_peaks_and_trims_tails():
    tables = laplace_tables(1)
    assert tables.freq[0, 64] > 0.99 * TOTAL
    assert tables.size[0] < 5
    assert tables.low[0] > -3
    many = Tables.from_pmf(np.array([[1 - 3e-3, *[1e-5] * 300]]), [0])
    assert many.freq[0, 0] > 0.99 * TOTAL
    with pytest.raises(InvalidParameterError):
        Tables.from_pmf(np.array([[0.7, 0.7]]), [0])
    with pytest.raises(InvalidParameterError):
        Tables.from_pmf(np.array([[np.nan, 0.7]]), [0])
