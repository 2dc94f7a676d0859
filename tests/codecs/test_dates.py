"""Dates coded together: payloads that decode alone, in fewer bytes, with the error of dates alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeo_nc.codecs import bitstream, date_groups, payloads
from openeo_nc.codecs.dates import encode_dates
from openeo_nc.codecs.group_memo import GroupMemo
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.rate_control import psnr
from openeo_nc.codecs.registry import open_codec
from openeo_nc.errors import PayloadError

SIDE = 96
QUALITY = Rate(quality=6.5)


@pytest.fixture(scope="module")
def codec():
    return open_codec("klt-dct")


def series(dates=4, *, bands=3, dtype="uint16", seed=0, foreign=()):
    """Dates of one rough scene that differ in gain, offset and a little noise; `foreign` are others."""
    rng = np.random.default_rng(seed)

    def scene():
        rough = rng.normal(size=(bands, SIDE, SIDE)).cumsum(1).cumsum(2)
        rough -= rough.mean(axis=(1, 2), keepdims=True)
        return 3000 + 300 * rough / rough.std() + rng.normal(0, 150, rough.shape)

    ground = scene()
    out = []
    for date in range(dates):
        values = scene() if date in foreign else ground * (0.8 + 0.1 * date) + 40 * date
        out.append(np.clip(values + rng.normal(0, 10, values.shape), 1, 9999).astype(dtype))
    return out


def bodies(coded):
    """Dates by the payload that holds them."""
    found = {}
    for i, payload in enumerate(coded):
        found.setdefault(payloads.split(payload)[1], []).append(i)
    return found


def decode(codec, payload):
    return payloads.decode(payload, codec, lambda _: codec, cards=())


def squares(xs, outs):
    return sum(
        float(np.square(x.astype(float) - out).sum()) for x, out in zip(xs, outs, strict=True)
    )


# --- what is grouped -------------------------------------------------------------------------


def test_dates_of_one_scene_share_a_payload_and_a_foreign_one_stays_alone(codec):
    xs = series(5, foreign=(2,))
    coded = encode_dates(codec, xs, [QUALITY] * 5)
    assert sorted(bodies(coded).values()) == [[0, 1, 3, 4], [2]]
    alone = [codec.encode(x, 6.5) for x in xs]
    assert coded[2] == alone[2]
    assert sum(map(len, bodies(coded))) < 0.8 * sum(map(len, alone))
    outs = [decode(codec, payload) for payload in coded]
    assert squares(xs, outs) <= 1.02 * squares(xs, [codec.decode(a) for a in alone])


def test_a_payload_says_how_many_dates_it_holds_and_each_is_read_alone(codec):
    xs = series(3)
    coded = encode_dates(codec, xs, [QUALITY] * 3)
    (body,) = bodies(coded)
    header, _, _ = bitstream.read(body, tag=None)
    assert header.dates == 3
    assert header.shape == (9, SIDE, SIDE)
    assert bitstream.holds_dates(body)
    whole = codec.decode(body)  # the oracle: all bands at once
    for i, payload in enumerate(coded):
        assert payload == bytes(i) + body
        out = decode(codec, payload)
        np.testing.assert_array_equal(out, whole[3 * i : 3 * i + 3])
        out[...] = 0  # is the reader's own
    np.testing.assert_array_equal(decode(codec, coded[0]), whole[:3])
    with pytest.raises(PayloadError, match="date 3 of a payload that holds 3"):
        decode(codec, bytes(3) + body)
    with pytest.raises(PayloadError):
        decode(codec, coded[1][:-5])


def test_the_same_dates_give_the_same_payloads(codec):
    xs = series(3)
    first = encode_dates(codec, xs, [QUALITY] * 3)
    again = encode_dates(codec, [x.copy() for x in xs], [QUALITY] * 3)
    assert first == again


def test_one_date_and_codecs_that_join_none_code_alone(codec):
    (x,) = series(1)
    assert encode_dates(codec, [x], [QUALITY]) == [codec.encode(x, 6.5)]
    sperr = open_codec("pcodec")
    xs = series(2)
    bound = [Rate(max_error=(0.0,) * 3)] * 2
    expected = [sperr.encode_bounded(x, (0.0,) * 3) for x in xs]
    assert encode_dates(sperr, xs, bound) == expected


def test_masks_are_kept_date_by_date_and_an_empty_date_is_alone(codec):
    xs = series(4, dtype="int16")
    xs[1][:, :30, 20:60] = -1
    xs[2][0, 50:, :40] = -1
    xs[3][:] = -1
    coded = encode_dates(codec, xs, [QUALITY] * 4, nodata=-1)
    assert [0, 1, 2] in bodies(coded).values()
    for x, payload in zip(xs, coded, strict=True):
        np.testing.assert_array_equal(decode(codec, payload) == -1, x == -1)
    assert bitstream.peek(coded[3])[1] == "empty"


# --- rates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("bound", [(60.0, 20.0, 40.0), (5.0,) * 3])
def test_a_bound_holds_for_every_date(codec, dtype, bound):
    xs = series(3, dtype=dtype)
    coded = encode_dates(codec, xs, [Rate(max_error=bound)] * 3)
    assert len(bodies(coded)) < 3
    for x, payload in zip(xs, coded, strict=True):
        error = np.abs(decode(codec, payload).astype(float) - x.astype(float))
        assert (error.max(axis=(1, 2)) <= bound).all()


def test_a_psnr_is_reached_by_every_date(codec):
    xs = series(3)
    coded = encode_dates(codec, xs, [Rate(target_psnr=42.0)] * 3)
    assert len(bodies(coded)) == 1
    assert all(
        psnr(x, decode(codec, payload), codec.card, None) >= 41.7
        for x, payload in zip(xs, coded, strict=True)
    )


def test_a_ratio_is_that_of_the_group(codec):
    xs = series(3)
    coded = encode_dates(codec, xs, [Rate(target_ratio=12.0)] * 3)
    (body,) = bodies(coded)
    assert len(body) <= sum(x.nbytes for x in xs) / 12


def test_dates_of_which_different_things_are_asked_are_apart(codec):
    xs = series(3)
    bound = Rate(max_error=(20.0,) * 3)
    coded = encode_dates(codec, xs, [QUALITY, bound, QUALITY])
    assert sorted(bodies(coded).values()) == [[0, 2], [1]]


# --- estimates -------------------------------------------------------------------------------


def test_estimates_do_not_depend_on_the_order_of_dates():
    xs = series(5, foreign=(1, 4))
    order = [3, 1, 0, 4, 2]
    found = date_groups.groups(xs, [None] * 5, 100.0)
    moved = date_groups.groups([xs[i] for i in order], [None] * 5, 100.0)
    assert found == [(0, 2, 3)]
    assert [sorted(order[i] for i in group) for group in moved] == [[0, 2, 3]]


def test_groups_have_a_largest_size():
    many = series(date_groups.MOST_DATES + 3)
    found = date_groups.groups(many, [None] * len(many), 100.0)
    assert found
    assert max(map(len, found)) <= date_groups.MOST_DATES
    wide = [np.repeat(x, 40, axis=0) for x in series(2)]
    assert date_groups.groups(wide, [None] * 2, 100.0) == []


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    dates=st.integers(1, 4),
    error=st.floats(1e-12, 1e12),
    value=st.sampled_from([0.0, 1.0, 1e30]),
    missing=st.booleans(),
)
def test_estimates_take_any_shape_and_value(shape, dates, error, value, missing):
    xs = [np.full(shape, value) for _ in range(dates)]
    masks = [np.ones(shape, bool) if missing else None] * dates
    found = date_groups.groups(xs, masks, error)
    assert sorted(i for group in found for i in group) == sorted({i for g in found for i in g})


# --- reading groups --------------------------------------------------------------------------


class Counting:
    """A codec that counts its calls and fails when told to."""

    def __init__(self, codec):
        self.card = codec.card
        self.calls = 0
        self.fails = 0

    def decode(self, payload):
        self.calls += 1
        if self.fails:
            self.fails -= 1
            raise PayloadError("damaged")
        return np.full((2, 100, 100), payload[0], np.uint8)


def test_a_group_is_decoded_once_by_many_threads(codec):
    counting, memo = Counting(codec), GroupMemo()
    outs = []
    threads = [
        threading.Thread(target=lambda: outs.append(memo.decode(b"a", counting))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counting.calls == 1
    assert all(out is outs[0] for out in outs)
    with pytest.raises(ValueError, match="read-only"):
        outs[0][0] = 1


def test_errors_are_not_kept_and_memory_is_bounded(codec):
    counting, memo = Counting(codec), GroupMemo(limit=50_000)
    counting.fails = 1
    with pytest.raises(PayloadError):
        memo.decode(b"a", counting)
    for payload in (b"a", b"b", b"a", b"c", b"a"):  # two fit: b goes when c comes
        memo.decode(payload, counting)
    assert counting.calls == 4
    memo.decode(b"b", counting)
    assert counting.calls == 5
    memo.clear()
    memo.decode(b"a", counting)
    assert counting.calls == 6
