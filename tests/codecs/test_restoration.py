"""The restoration codec: klt-dct's integers, no worse on any tile, better on places left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiles import tile

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.codecs import restoration
from openeo_nc.codecs.registry import choose, get_card, open_codec
from openeo_nc.errors import BandMismatchError, PayloadError, PayloadModelError
from openeo_nc.sentinel2 import BANDS

CODEC = "s2l2a-restoration"


@pytest.fixture(scope="module")
def codec():
    return open_codec(CODEC)


@pytest.fixture(scope="module")
def universal():
    return open_codec("klt-dct")


def error(codec, x, quality):
    return np.mean((codec.decode(codec.encode(x, quality)).astype(float) - x) ** 2)


def test_auto_takes_it_for_pixels_but_not_for_embeddings():
    assert choose("auto", BANDS).codec_id == CODEC
    assert choose("auto", BANDS, embedding=True).codec_id == "s2l2a-hyperprior"
    assert choose("auto", BANDS[::-1]).codec_id == "klt-dct"


def test_the_integers_are_those_of_klt_dct(codec, universal):
    x = tile(codec.card, 60, 50, "uint16", noise=200)
    ours, theirs = codec.analyse(x, quality=4), universal.analyse(x, quality=4)
    assert np.array_equal(ours.y, theirs.y)
    assert ours.side[6:] == theirs.side
    with pytest.raises(PayloadModelError):
        codec.decode(universal.encode(x, 4))


def test_no_tile_is_decoded_worse_than_by_klt_dct(codec, universal):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 10000, (12, 72, 72)).astype(np.uint16)
    checks = np.kron(np.indices((9, 9)).sum(0) % 2, np.ones((8, 8))).astype(np.uint16)
    for x in (noise, np.stack([checks * 3000 + 100 * i for i in range(12)]).astype(np.uint16)):
        for quality in (1, 4, 8):
            assert error(codec, x, quality) <= 1.001 * error(universal, x, quality) + 0.1


def land(bands=12, side=384):
    """`(bands, side, side)` whose power falls with frequency, as that of imagery does."""
    rng = np.random.default_rng(4)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 0.5 / side
    scene = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(4, side, side))) / f**1.2, (side, side))
    scene /= scene.std(axis=(1, 2), keepdims=True)
    return 2500 + 500 * np.tensordot(rng.uniform(0, 1, (bands, 4)), scene, 1)


def test_a_large_tile_of_two_kinds_is_decoded_no_worse_than_by_klt_dct(codec, universal):
    x = land()
    lines = 2000 + 1500 * (np.indices(x.shape[1:]).sum(0) // 5 % 2)
    x[:, :192, 192:] = lines[:192, 192:]
    x[:, 192:, :192] = lines[192:, :192]
    x = x.clip(1, 10000).astype(np.uint16)
    for quality in (2, 5):
        assert error(codec, x, quality) <= 1.001 * error(universal, x, quality) + 0.1


@pytest.mark.parametrize("size", [336, 337, 361, 384, 500])
def test_large_tiles_are_judged_by_every_other_block(size):
    blocks = restoration._blocks(size)
    assert [b.start for b in blocks[1:]] == [b.stop for b in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, size)
    assert all(24 < b.stop - b.start <= 120 and b.start % 24 == 0 for b in blocks)
    seen = np.zeros((size, 384))
    for part in restoration._judged(size, 384):
        seen[part] += 1
    assert seen.max() == 1
    assert 0.4 < seen.mean() < 0.6


def test_shares_of_nothing_run_no_network(codec, monkeypatch):
    x = tile(codec.card, 48, 48, "uint16", noise=100)
    latents = codec.analyse(x, quality=4)
    payload = codec.pack(replace(latents, side=bytes(6) + latents.side[6:]))
    monkeypatch.delattr(type(codec), "_restorer")
    assert codec.decode(payload).shape == x.shape


def test_above_the_trained_qualities_the_network_rests(codec, universal):
    x = tile(codec.card, 48, 48, "uint16", noise=100)
    latents = codec.analyse(x, quality=9)
    assert latents.side[:6] == bytes(6)
    plain = replace(latents, side=latents.side[6:])
    assert np.array_equal(codec.reconstruct(latents), universal.reconstruct(plain))


def test_each_band_has_its_share(codec):
    x = tile(codec.card, 48, 48, "uint16", noise=300)
    latents = codec.analyse(x, quality=2)
    none = replace(latents, side=bytes(6) + latents.side[6:])
    one = replace(latents, side=bytes([restoration.UNIT, 0, 0, 0, 0, 0]) + latents.side[6:])
    changed = codec.reconstruct(one) != codec.reconstruct(none)
    assert changed[0].any()
    assert not changed[1:].any()


def test_reflectance_as_floats_is_coded_by_the_same_steps(codec):
    x = tile(codec.card, 50, 40, "uint16", noise=100)
    integers, floats = (codec.analyse(v, quality=5) for v in (x, x.astype(np.float32)))
    assert np.array_equal(integers.y, floats.y)


def test_missing_pixels_and_ragged_sizes_come_back(codec):
    x = tile(codec.card, 37, 53, "float32", noise=100)
    x[:, 4:9, 30:] = np.nan
    out = codec.decode(codec.encode(x, 5))
    assert np.array_equal(np.isnan(out), np.isnan(x))
    assert np.nanmax(np.abs(out - x)) < 3000
    blank = np.full_like(x, np.nan)
    assert np.isnan(codec.decode(codec.encode(blank))).all()


def test_batches_decode_as_tiles_alone_do(codec):
    tiles = [tile(codec.card, n, 48, "uint16", seed=n, noise=200) for n in (48, 30, 48)]
    payloads = [codec.encode(x, q) for x, q in zip(tiles, (3, 5, 9), strict=True)]
    for x, payload in zip(codec.decode_batch(payloads), payloads, strict=True):
        difference = np.abs(x.astype(float) - codec.decode(payload))
        assert difference.max() <= codec.card.decode_tolerance


def test_other_bands_are_refused(codec):
    x = tile(codec.card, 24, 24, "uint16")
    with pytest.raises(BandMismatchError, match="B8A"):
        codec.encode(x[:4])


def test_side_data_too_short_for_shares_are_a_payload_error(codec):
    latents = codec.analyse(tile(codec.card, 24, 24, "uint16"), quality=5)
    with pytest.raises(PayloadError):
        codec.unpack(codec.pack(replace(latents, side=b"\x88")))


@pytest.mark.realdata
def test_it_gains_on_places_left_out(codec, universal, shared_data):
    gains = []
    for one in from_split(shared_data, "s2l2a")[::3]:
        x = one.pixels
        payloads = codec.encode(x, 3), universal.encode(x, 3)
        assert len(payloads[0]) <= len(payloads[1]) + 6
        gains.append(10 * np.log10(error(universal, x, 3) / error(codec, x, 3)))
    assert min(gains) > 0.1
    assert np.mean(gains) > 0.35


def test_the_card_says_what_it_was_trained_on():
    evaluation = get_card(CODEC).evaluation
    assert not set(evaluation["split"]["train"]) & set(evaluation["split"]["evaluation"])
    assert set(evaluation["bytes"]) == set(evaluation["split"]["evaluation"])
