"""What every codec of every card does: the promises of codecs/base.py, on small tiles."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from reference_ans import ReferenceDecoder
from tiles import dtypes, tile

from openeo_nc.codecs import bitstream, entropy
from openeo_nc.codecs.base import with_latents
from openeo_nc.codecs.registry import list_codecs, open_codec
from openeo_nc.errors import (
    BandMismatchError,
    DataTypeUnsupportedError,
    InvalidParameterError,
    InvalidValuesError,
    PayloadError,
    PayloadModelError,
    PayloadVersionError,
)

SHAPES = [(1, 1), (8, 8), (7, 13), (1, 40), (33, 50)]


# Classical codecs have no latents: that of the contract they are not asked for.
LATENT = [card.codec_id for card in list_codecs() if card.architecture != "classical"]


@pytest.fixture(scope="module", params=[c.codec_id for c in list_codecs()])
def codec(request):
    return open_codec(request.param)


@pytest.fixture(scope="module", params=LATENT)
def latent_codec(request):
    return with_latents(open_codec(request.param))


@pytest.fixture(scope="module")
def coded(codec):
    return hole(codec)


@pytest.fixture(scope="module")
def latent_coded(latent_codec):
    return hole(latent_codec)


def hole(codec):
    """A tile with a hole, as float32 if the codec takes it, and its payload."""
    x = tile(codec.card, 40, 27, (dtypes(codec.card, "f") or dtypes(codec.card))[0])
    nodata = 0 if x.dtype.kind != "f" else None
    x[:, 3:9, :5] = np.nan if nodata is None else nodata
    return x, codec.encode(x, nodata=nodata)


def assert_same_latents(a, b):
    np.testing.assert_array_equal(a.y, b.y)
    assert a.y.dtype == b.y.dtype == np.int32
    assert (a.quality, a.shape, a.dtype, a.basis) == (b.quality, b.shape, b.dtype, b.basis)
    assert (a.side, a.nodata, a.empty) == (b.side, b.nodata, b.empty)
    assert (a.mask is None) == (b.mask is None)
    if a.mask is not None:
        np.testing.assert_array_equal(a.mask, b.mask)


def header(payload):
    return bitstream.read(payload, tag=None)[0]


def psnr(x, out, card):
    peak = card.peak or 10000
    error = np.nanmean((x.astype(float) - out.astype(float)) ** 2)
    return 10 * np.log10(peak**2 / max(error, 1e-9))


@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_and_dtype_comes_back(codec, shape):
    for dtype in codec.card.dtypes:
        x = tile(codec.card, *shape, dtype)
        before = x.copy()
        payload = codec.encode(x)
        assert isinstance(payload, bytes)
        out = codec.decode(payload)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        np.testing.assert_array_equal(x, before)
        assert np.abs(out.astype(float) - x.astype(float)).mean() < 0.1 * x.astype(float).max() + 1


def test_payloads_unpack_to_what_was_packed(latent_codec):
    card = latent_codec.card
    for dtype in card.dtypes:
        x = tile(card, 24, 37, dtype)
        x[:, :5, :5] = 7
        latents = latent_codec.analyse(x, nodata=7)
        channels, rows, columns = latents.y.shape
        assert (rows, columns) == (-(-24 // card.stride), -(-37 // card.stride))
        assert card.latent_channels in (None, channels)
        assert latents.mask is not None
        np.testing.assert_array_equal(latents.mask, x == 7)
        assert_same_latents(latent_codec.unpack(latent_codec.pack(latents)), latents)


def test_every_quality_and_no_other(codec):
    card = codec.card
    low, high, default = card.quality
    x = tile(card, 48, 48, dtypes(card, "i", "u")[-1])
    rates, distortions = [], []
    for quality in np.linspace(low, high, 4):
        payload = codec.encode(x, float(quality))
        assert header(payload).quality == bitstream.round_quality(quality)
        rates.append(len(payload))
        distortions.append(psnr(x, codec.decode(payload), card))
    assert rates == sorted(rates)
    if not np.array_equal(codec.decode(codec.encode(x, low)), x):  # else it is lossless at any
        assert rates[0] < rates[-1]
        assert distortions[-1] > distortions[0]
    assert header(codec.encode(x)).quality == bitstream.round_quality(default)
    for quality in (low - 0.01, high + 0.01, float("nan"), float("inf"), -1.0):
        with pytest.raises(InvalidParameterError, match="quality"):
            codec.encode(x, quality)


def test_missing_values_are_kept_exactly(codec):
    for dtype in codec.card.dtypes:
        kind = np.dtype(dtype).kind
        for nodata in [0, 100] + [None, -9999.0] * (kind == "f") + [-1] * (kind == "i"):
            x = tile(codec.card, 30, 30, dtype, seed=3)
            x[x == (0 if nodata is None else nodata)] += 1
            mask = np.zeros(x.shape, bool)
            mask[:, :11, 20:] = True
            mask[0, 12::3, 5] = True
            x[mask] = np.nan if nodata is None else nodata
            out = codec.decode(codec.encode(x, nodata=nodata))
            missing = np.isnan(out) if nodata is None else out == nodata
            np.testing.assert_array_equal(missing, mask, err_msg=f"{dtype} {nodata}")
            assert psnr(x[~mask], out[~mask], codec.card) > 25


def test_a_tile_without_data_is_a_few_bytes(codec):
    for dtype in codec.card.dtypes:
        nodata = np.nan if np.dtype(dtype).kind == "f" else 5
        x = np.full_like(tile(codec.card, 64, 50, dtype), nodata)
        payload = codec.encode(x, nodata=None if np.isnan(nodata) else nodata)
        assert len(payload) < 80
        np.testing.assert_array_equal(codec.decode(payload), x)


def test_latents_of_a_tile_without_data_are_zero(latent_codec):
    x = np.full_like(tile(latent_codec.card, 64, 50, latent_codec.card.dtypes[0]), 5)
    latents = latent_codec.analyse(x, nodata=5)
    assert latents.empty
    assert not latents.y.any()
    assert_same_latents(latent_codec.unpack(latent_codec.pack(latents)), latents)


def test_constant_and_extreme_tiles(codec):
    for dtype in codec.card.dtypes:
        like = tile(codec.card, 16, 16, dtype)
        rng = np.random.default_rng(0)
        top = 30000 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
        bottom = -1000 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min
        for x in (
            np.zeros_like(like),
            np.full_like(like, top),
            np.full_like(like, bottom),
            np.where(rng.random(like.shape) < 0.5, top, bottom).astype(dtype),
        ):
            out = codec.decode(codec.encode(x))
            assert np.isfinite(out).all()
            span = float(top) - float(bottom)
            assert np.abs(out.astype(float) - x.astype(float)).mean() <= 0.3 * span


def test_encoding_is_repeatable_and_does_not_ask_for_contiguous_arrays(codec):
    x = tile(codec.card, 22, 34, codec.card.dtypes[0])
    payload = codec.encode(x)
    assert codec.encode(x) == payload
    assert codec.encode(np.asfortranarray(x)) == payload
    assert codec.encode(np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1]) == payload
    x.setflags(write=False)
    assert codec.encode(x) == payload


def test_batches_agree_with_single_tiles(codec):
    card = codec.card
    xs = [tile(card, 24, 24, card.dtypes[0], seed) for seed in range(3)]
    xs.append(tile(card, 9, 30, card.dtypes[-1]))
    payloads = codec.encode_batch(xs, card.quality[0])
    assert len(payloads) == 4
    for x, payload, out in zip(xs, payloads, codec.decode_batch(payloads), strict=True):
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
        alone = codec.decode(payload)
        assert np.abs(out.astype(float) - alone).max() <= card.decode_tolerance
        assert (
            abs(psnr(x, out, card) - psnr(x, codec.decode(codec.encode(x, card.quality[0])), card))
            < 0.2
        )
    assert codec.encode_batch([]) == []
    assert codec.decode_batch([]) == []


def test_threads_may_share_a_codec(codec):
    xs = [tile(codec.card, 20, 20, codec.card.dtypes[0], seed) for seed in range(6)]
    alone = [codec.encode(x) for x in xs]
    decoded = [codec.decode(payload) for payload in alone]
    failures = []

    def work(i):
        try:
            np.testing.assert_array_equal(codec.decode(alone[i]), decoded[i])
            assert codec.encode(xs[i]) == alone[i]
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_reference_decoder_reads_the_stream(latent_codec, latent_coded, monkeypatch):
    payload = latent_coded[1]
    latents = latent_codec.unpack(payload)
    used = []

    class Watched(ReferenceDecoder):
        def __init__(self, data):
            used.append(len(data))
            super().__init__(data)

    package = type(latent_codec).__module__.rpartition(".")[0]
    real = entropy.Decoder
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package}.") and getattr(module, "Decoder", None) is real:
            monkeypatch.setattr(module, "Decoder", Watched)
    monkeypatch.setattr(entropy, "Decoder", Watched)
    assert_same_latents(latent_codec.unpack(payload), latents)
    assert sum(used) > len(payload) / 4


ANOTHER_PROCESS = """
import sys
import numpy as np
from openeo_nc.codecs.base import with_latents
from openeo_nc.codecs.registry import open_codec
codec_id, source, target = sys.argv[1:]
codec = open_codec(codec_id)
payload = open(source, "rb").read()
codec.decode(payload)  # networks are loaded on first use
if "torch" in sys.modules:
    import torch
    torch.set_num_threads(2)
    torch.backends.mkldnn.enabled = False
    parts, found = [codec], 0
    for part in parts:
        for value in vars(part).values():
            if isinstance(value, torch.nn.Module):
                value.to(memory_format=torch.channels_last)
                found += 1
            elif type(value).__module__.startswith("openeo_nc.") and hasattr(value, "__dict__"):
                parts.append(value)
    assert found, "no network to lay out in another way"
tiles = codec.decode_batch([payload] * 7)
y = codec.unpack(payload).y if hasattr(codec, "unpack") else []
np.savez(target, y=y, first=tiles[0], last=tiles[-1])
"""


def test_another_process_decodes_the_same(codec, coded, tmp_path):
    (tmp_path / "payload").write_bytes(coded[1])
    argv = [codec.card.codec_id, str(tmp_path / "payload"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, *argv], check=True, timeout=120)
    there = np.load(tmp_path / "out.npz")
    if codec.card.codec_id in LATENT:
        np.testing.assert_array_equal(there["y"], codec.unpack(coded[1]).y)
    here = codec.decode(coded[1])
    for out in (there["first"], there["last"]):
        np.testing.assert_allclose(out, here, rtol=0, atol=codec.card.decode_tolerance)


def test_infinite_values_are_refused(codec):
    for dtype in dtypes(codec.card, "f"):
        for value in (np.inf, -np.inf):
            x = tile(codec.card, 9, 9, dtype)
            x[0, 4, 4] = value
            with pytest.raises(InvalidValuesError):
                codec.encode(x)


def test_huge_values_come_back_or_are_refused(codec):
    """Never a payload that does not decode: 9.97e36 is what NetCDF fills unwritten pixels with."""
    for dtype in dtypes(codec.card, "f"):
        top = float(np.finfo(dtype).max)
        for value in (1e6, 1e9, 1e11, 1e13, 1e16, 9.97e36, top):
            x = tile(codec.card, 9, 17, dtype)
            x[0, 4, 4] = min(value, top)
            try:
                payload = codec.encode(x)
            except InvalidValuesError:
                assert value > 1e9
                continue
            assert np.isfinite(codec.decode(payload)).all()


def test_wrong_arrays_are_refused(codec):
    card = codec.card
    x = tile(card, 9, 9, card.dtypes[0])
    for dtype in ("complex64", "bool", "datetime64[s]", "object"):
        with pytest.raises(DataTypeUnsupportedError):
            codec.encode(np.zeros(x.shape, dtype))
    for dtype in {"uint8", "int64", "float64"} - set(card.dtypes):
        with pytest.raises(DataTypeUnsupportedError, match=dtype):
            codec.encode(x.astype(dtype))
    for wrong in (x[0], x[None], x[:, :0], x[:, :, :0]):
        with pytest.raises((BandMismatchError, InvalidParameterError)):
            codec.encode(wrong)
    if card.bands is not None:
        for wrong in (x[1:], np.concatenate([x, x])):
            with pytest.raises(BandMismatchError, match=str(len(card.bands))):
                codec.encode(wrong)
    else:
        with pytest.raises((BandMismatchError, InvalidParameterError)):
            codec.encode(x[:0])
    with pytest.raises(InvalidParameterError, match="basis"):
        codec.encode(x, basis="none")
    with pytest.raises(InvalidParameterError, match="filled"):
        codec.encode(np.ma.masked_array(x, x > 3000))


def test_nodata_must_be_a_value_that_the_dtype_has(codec):
    for dtype in dtypes(codec.card, "i", "u"):
        x = tile(codec.card, 9, 9, dtype)
        for nodata in (1e30, 0.5, float("nan"), -float("inf")):
            with pytest.raises(InvalidParameterError, match="nodata"):
                codec.encode(x, nodata=nodata)


def test_both_bases(latent_codec):
    x = tile(latent_codec.card, 33, 20, latent_codec.card.dtypes[0])
    for basis in ("tile", "card"):
        try:
            latents = latent_codec.analyse(x, basis=basis)
        except InvalidParameterError:
            assert basis == "card"
            assert not latent_codec.card.embedding
            continue
        assert latents.basis == basis
        unpacked = latent_codec.unpack(latent_codec.pack(latents))
        assert_same_latents(unpacked, latents)
        assert psnr(x, latent_codec.synthesise(unpacked), latent_codec.card) > 25


def test_steps_of_embeddings_shrink_with_quality(latent_codec):
    low, high, default = latent_codec.card.quality
    steps = [latent_codec.embedding_step(q) for q in (low, default, high)]
    assert np.isfinite(steps).all()
    assert steps[0] >= steps[1] >= steps[2] > 0


def test_damaged_payloads_are_typed_errors(codec, coded):
    payload = coded[1]
    for n in [*range(0, len(payload), 1 + len(payload) // 50), len(payload) - 1]:
        with pytest.raises(PayloadError):
            codec.decode(payload[:n])
        with pytest.raises(PayloadError):
            codec.decode(bitstream.reseal(payload[:n]))
    with pytest.raises(PayloadVersionError):
        codec.decode(payload[:4] + b"\3" + payload[5:])
    for wrong in (b"", b"\0" * 100, payload + b"\0", payload * 2):
        with pytest.raises(PayloadError):
            codec.decode(wrong)


def test_payloads_of_other_weights_are_told(codec, coded):
    written, sections, digest = bitstream.read(coded[1], tag=bitstream.codec_tag(codec.card))
    other = bytearray(coded[1])
    other[8:16] = hashlib.sha256(b"other weights").digest()[:8]
    start = coded[1].index(b"".join(sections), 24) - 4
    other[start : start + 4] = bitstream.zlib.crc32(other[:start]).to_bytes(4, "little")
    with pytest.raises(PayloadModelError, match=bytes(written.tag).hex()):
        codec.decode(bitstream.reseal(bytes(other)))
