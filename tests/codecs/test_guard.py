"""The shipped guard: what it takes, what it says, and that its weights are checked."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from tiles import tile

from openeo_nc.codecs import bitstream, weights
from openeo_nc.codecs import guard as guards
from openeo_nc.codecs.guard import Guard, Scorer, scorer_arrays, scorer_of
from openeo_nc.codecs.registry import get_card, list_codecs, open_codec
from openeo_nc.errors import InvalidParameterError, InvalidValuesError, WeightsInvalidError

CARD = get_card("s2l2a-hyperprior")


@pytest.fixture(scope="module")
def guard():
    return Guard.load(CARD)


def arrays():
    return weights.load(replace(CARD, weights=CARD.guard, weights_sha256=CARD.guard_sha256))


def test_cards_name_a_guard_that_loads_once():
    named = [card for card in list_codecs() if card.guard is not None]
    assert CARD in named
    for card in named:
        assert Guard.load(card) is Guard.load(card)


def test_a_card_without_guard_is_told():
    with pytest.raises(InvalidParameterError, match="has no guard"):
        Guard.load(replace(CARD, guard=None, guard_sha256=None))


def test_a_score_is_of_the_pixels_and_nothing_else(guard):
    x = tile(CARD, 96, 104)
    shift = guard.score(x)
    assert shift == guard.score(x.copy())
    assert shift.flagged == (shift.score > 0)
    assert np.isfinite(list(shift.features.values())).all()
    for other in (x.astype("u2"), x.astype("f4"), np.asfortranarray(x)):
        assert guard.score(other).score == pytest.approx(shift.score, abs=1e-4)


def test_noise_is_flagged(guard):
    noise = np.random.default_rng(0).integers(0, 10000, (12, 128, 128)).astype("i2")
    assert guard.score(noise).flagged
    assert not guard.score(noise).trusted


@pytest.mark.parametrize("shape", [(12, 63, 500), (12, 1, 1), (4, 128, 128), (13, 128, 128)])
def test_tiles_that_cannot_be_judged_are_not_flagged(guard, shape):
    shift = guard.score(np.zeros(shape, "i2"))
    assert np.isnan(shift.score)
    assert not shift.flagged
    assert not shift.trusted
    assert not shift.features


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_data_is_left_out(guard, dtype):
    x = tile(CARD, 160, 128, dtype)
    x[:, 96:] = -9999
    by_value = guard.score(x, nodata=-9999)
    assert by_value.score == pytest.approx(guard.score(x[:, :96]).score, abs=2)
    if dtype == "float32":
        x[:, 96:] = np.nan
        assert guard.score(x) == by_value
    x[:] = -9999
    assert np.isnan(guard.score(x, nodata=-9999).score)


def test_values_that_no_codec_takes_are_refused(guard):
    x = tile(CARD, 64, 64, "float32")
    x[0, 0, 0] = np.inf
    with pytest.raises(InvalidValuesError):
        guard.score(x)
    with pytest.raises(InvalidParameterError, match="nodata"):
        guard.score(tile(CARD, 64, 64), nodata=0.5)


@pytest.mark.parametrize(("codec_id", "other"), guards.SAME_INTEGERS.items())
@pytest.mark.parametrize("quality", [2.0, 5.0, 8.0])
def test_codecs_of_the_same_integers_have_the_same_bits(codec_id, other, quality, guard):
    x = tile(CARD, 96, 96, noise=200)
    x[:, :9, :7] = -9999
    payloads = [open_codec(name).encode(x, quality, nodata=-9999) for name in (codec_id, other)]
    read = [bitstream.read(payload, tag=None) for payload in payloads]
    assert read[0][1][-1] == read[1][1][-1]
    ours, theirs = (guards.payload_bits(header, sections) for header, sections, _ in read)
    assert ours == theirs
    ours, theirs = (guard.score(x, nodata=-9999, payload=payload) for payload in payloads)
    assert ours == theirs
    assert "bits" in ours.features


@pytest.mark.parametrize("codec_id", ["klt-dct", "s2l2a-hyperprior", "s2l2a-restoration"])
def test_payloads_add_their_bits(guard, codec_id):
    x, codec = tile(CARD, 96, 96), open_codec(codec_id)
    shift = guard.score(x, payload=codec.encode(x, 4.0))
    added = shift.features.keys() - guard.score(x).features.keys()
    assert added == ({"bits", "hyper_bits"} if codec_id == "s2l2a-hyperprior" else {"bits"})
    noisy = x + np.random.default_rng(0).normal(0, 300, x.shape).astype("i2")
    more = guard.score(noisy, payload=codec.encode(noisy, 4.0))
    assert more.features["bits"] > shift.features["bits"] + 1
    for tile_of_it, judged in ((x, shift), (noisy, more)):
        by_pixels = guard.score(tile_of_it)
        assert judged.score == by_pixels.score or judged.score > max(by_pixels.score, 0)


def test_payloads_of_unknown_weights_or_bounds_add_nothing(guard):
    x = tile(CARD, 96, 96)
    for payload in (
        open_codec("pcodec").encode(x),
        open_codec("klt-dct").encode_bounded(x, [50.0] * 12),
        open_codec("klt-dct").encode(x, 9.0),
    ):
        assert guard.score(x, payload=payload) == guard.score(x)


def test_a_tile_costs_little(guard):
    x = tile(CARD, 384, 384)
    guard.score(x)
    took = []
    for _ in range(5):
        start = time.process_time()
        guard.score(x)
        took.append(time.process_time() - start)
    assert min(took) < 1  # about 0.03 s; machines differ


def test_scorers_survive_their_arrays():
    rng = np.random.default_rng(0)
    scorer = Scorer(
        names=("a", "b", "c"),
        kinds=("x", "y"),
        low=rng.normal(size=3),
        high=2 + rng.normal(size=3),
        scale=rng.uniform(0.1, 1, 3),
        below=rng.uniform(size=(2, 3)),
        above=rng.uniform(size=(2, 3)),
        centre=rng.normal(size=2),
        spread=rng.uniform(0.5, 1, 2),
        threshold=0.25,
    )
    values = rng.normal(0, 5, (6, 3))
    again = scorer_of(scorer_arrays(scorer, "p"), "p")
    assert (again.names, again.kinds) == (scorer.names, scorer.kinds)
    np.testing.assert_allclose(again.scores(values), scorer.scores(values), rtol=1e-4, atol=1e-4)
    inside = np.clip(values, scorer.low, scorer.high)
    expected = -scorer.centre / scorer.spread - 0.25
    np.testing.assert_allclose(scorer.scores(inside), np.tile(expected, (6, 1)))
    assert (scorer.scores(values) >= scorer.scores(inside)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"resolutions": None},
        {"pixels.low": None},
        {"pixels.low": np.zeros(2)},
        {"pixels.above": np.zeros((2, 3))},
        {"mean.whiten": None},
    ],
)
def test_damaged_weights_are_told(change):
    damaged = {**arrays(), **change}
    with pytest.raises(WeightsInvalidError, match="guard"):
        Guard({name: array for name, array in damaged.items() if array is not None})


def test_loading_again_verifies_the_hash(monkeypatch):
    monkeypatch.setattr(guards, "_loaded", {})
    with pytest.raises(WeightsInvalidError):
        Guard.load(replace(CARD, guard_sha256="0" * 64))
