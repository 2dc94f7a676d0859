"""Streams that were written once decode to the same integers for good."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from reference_ans import ReferenceDecoder

from openeo_nc.codecs import bitstream, payloads
from openeo_nc.codecs.base import LatentCodec
from openeo_nc.codecs.entropy import Tables, decode
from openeo_nc.codecs.registry import get_card, list_codecs, open_codec
from openeo_nc.errors import PayloadError

FOLDER = Path(__file__).resolve().parent
LISTED = json.loads((FOLDER / "golden.json").read_text())


@pytest.fixture(scope="module")
def make():
    spec = spec_from_file_location("make_golden", FOLDER / "make.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LISTED)
def test_payloads_decode_to_the_same(name, make):
    entry = LISTED[name]
    card = get_card(entry["codec"])
    assert card.weights_sha256 == entry["weights_sha256"], (
        f"the weights of {card.codec_id} changed: released payloads need the old ones; before a "
        f"release run `python tests/golden/make.py {card.codec_id}`"
    )
    codec = open_codec(card.codec_id)
    payload = (FOLDER / f"{name}.bin").read_bytes()
    if isinstance(codec, LatentCodec):
        latents = codec.unpack(payload)
        assert make.latents_sha256(latents) == entry["latents_sha256"]
        assert latents.dates == entry.get("dates", 1)
        assert codec.channels(payload) == len(latents.y)
        assert codec.unpack(codec.pack(latents)).y.tobytes() == latents.y.tobytes()
    pixels = np.load(FOLDER / f"{name}.npz")["pixels"]
    out = codec.decode(payload)
    assert (out.shape, out.dtype) == (pixels.shape, pixels.dtype)
    np.testing.assert_allclose(
        out.astype(float), pixels.astype(float), rtol=0, atol=card.decode_tolerance
    )


@pytest.mark.parametrize("name", [name for name, entry in LISTED.items() if "dates" in entry])
def test_each_date_of_a_group_decodes_alone(name):
    codec = open_codec(LISTED[name]["codec"])
    group = (FOLDER / f"{name}.bin").read_bytes()
    pixels = np.split(np.load(FOLDER / f"{name}.npz")["pixels"], LISTED[name]["dates"])
    for date, expected in enumerate(pixels):
        out = payloads.decode(bytes(date) + group, codec, lambda _: codec)
        np.testing.assert_allclose(
            out.astype(float), expected.astype(float), rtol=0, atol=codec.card.decode_tolerance
        )
    with pytest.raises(PayloadError, match="date 2 of a payload that holds 2"):
        payloads.decode(bytes(2) + group, codec, lambda _: codec)


def test_every_codec_has_golden_payloads():
    for card in list_codecs():
        cases = {name for name, entry in LISTED.items() if entry["codec"] == card.codec_id}
        usual = ["default", "nodata", "empty"]
        if open_codec(card.codec_id).joins_dates:
            usual += ["dates", "dates-bounded"]
        expected = {f"{card.codec_id}--{case}" for case in usual}
        assert expected <= cases, "run `python tests/golden/make.py` and commit what it adds"


def test_a_stream_of_the_entropy_coder_decodes_to_the_same():
    golden = np.load(FOLDER / "entropy.npz")
    tables = Tables(freq=golden["freq"], offset=golden["offset"])
    stream, index = golden["stream"].tobytes(), golden["index"]
    np.testing.assert_array_equal(decode(stream, index, tables), golden["symbols"])
    reference = ReferenceDecoder(stream)
    np.testing.assert_array_equal(reference.pull(index, tables), golden["symbols"])
    reference.finish()


def test_a_container_reads_as_written():
    payload = (FOLDER / "container.bin").read_bytes()
    header, (side, mask_bytes, nothing), digest = bitstream.read(payload, tag=b"golden!!")
    assert (header.quality, header.shape, header.dtype) == (5.25, (2, 3, 5), np.dtype("uint16"))
    assert (header.basis, header.nodata, header.masked) == ("card", 65535.0, True)
    assert (side, nothing) == (b"side", b"")
    mask = bitstream.decode_mask(mask_bytes, header.shape)
    np.testing.assert_array_equal(mask, np.arange(30).reshape(2, 3, 5) % 4 == 0)
    y = np.arange(6, dtype=np.int32)
    bitstream.check_digest(header, digest, y, mask, b"side", None)
