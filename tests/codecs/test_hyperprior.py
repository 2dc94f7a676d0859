"""The shipped learned codec: latents that no machine decodes otherwise, rates as its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import reference_hyperprior
from tiles import tile

from openeo_nc.codecs import bitstream, weights
from openeo_nc.codecs.hyperprior_entropy import IntegerEntropyModel
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.errors import InvalidParameterError, PayloadError, WeightsInvalidError

CODEC = "s2l2a-hyperprior"
SCRIPT = """
import sys, numpy as np, torch
from openeo_nc.codecs.registry import open_codec
codec, out = open_codec("s2l2a-hyperprior"), {}
payload = open(sys.argv[1], "rb").read()

def decode(name, batch=1):
    out[name + " y"] = codec.unpack(payload).y
    out[name + " x"] = codec.decode_batch([payload] * batch)[-1]

decode("fresh process")
decode("batch 7", 7)
torch.set_num_threads(2)
decode("two threads")
codec._networks.transform.to(memory_format=torch.channels_last)
decode("channels last", 7)
torch.backends.mkldnn.enabled = False
decode("oneDNN off", 7)
np.savez(sys.argv[2], **out)
"""


@pytest.fixture(scope="module")
def codec():
    return open_codec(CODEC)


@pytest.fixture(scope="module")
def arrays():
    prefix = "entropy."
    return {
        k.removeprefix(prefix): v
        for k, v in weights.load(get_card(CODEC)).items()
        if k.startswith(prefix)
    }


@pytest.fixture(scope="module")
def payload(codec):
    return codec.encode(tile(codec.card, 72, 56, "float32"), 5.5)


def test_every_way_to_run_decodes_the_same_latents(codec, payload, tmp_path):
    (tmp_path / "payload").write_bytes(payload)
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path / "payload"), str(tmp_path / "out.npz")]
    subprocess.run(argv, check=True, timeout=120)
    there = np.load(tmp_path / "out.npz")
    assert len(there.files) == 10
    y, x = codec.unpack(payload).y, codec.decode(payload)
    for name in there.files:
        if name.endswith("y"):
            np.testing.assert_array_equal(there[name], y, err_msg=name)
        else:
            worst = np.abs(there[name] - x).max()
            assert worst <= codec.card.decode_tolerance, (name, worst)


def test_the_numpy_reference_decodes_the_same_latents(codec, arrays):
    payload = codec.encode(tile(codec.card, 30, 45, "int16"), 6.25)
    header, sections, _ = bitstream.read(payload, tag=None)
    y = reference_hyperprior.decode(arrays, *sections[1:], header.quality, 4, 6)
    np.testing.assert_array_equal(y, codec.unpack(payload).y)
    assert np.abs(y).max() > 3


def test_extreme_latents_come_back(codec, arrays):
    model = IntegerEntropyModel(arrays)
    rng = np.random.default_rng(1)
    y = np.rint(rng.standard_cauchy((model.latents, 5, 7)) * 50).clip(-(2**27), 2**27)
    y = y.astype(np.int32)
    z = rng.integers(-127, 128, model.z_shape(5, 7)).astype(np.int32)
    for quality in (1.0, 8.0):
        streams = model.encode(y, z, quality)
        y_out, z_out = model.decode(*streams, quality, 5, 7)
        np.testing.assert_array_equal(y_out, y)
        np.testing.assert_array_equal(z_out, z)


def test_integers_cost_no_more_than_the_float_model_says(codec, arrays):
    torch = pytest.importorskip("torch")
    from openeo_nc.codecs.hyperprior_rate import EntropyModel
    from openeo_nc.codecs.hyperprior_transform import Widths

    sizes = {
        k.removeprefix("widths."): v.tolist() if v.size > 1 else v.item()
        for k, v in weights.load(codec.card).items()
        if k.startswith("widths.")
    }
    model = EntropyModel(Widths.of(sizes))
    state = model.state_dict()
    for name, value in arrays.items():
        if name in state and name.endswith("weight"):
            state[name] = torch.from_numpy(value / 2.0**12)
        elif name in state and name.endswith("bias"):
            state[name] = torch.from_numpy(value / 2.0**20)
    state["by_quality.bias"] = torch.zeros_like(state["by_quality.bias"])
    state["index_by_quality"] = torch.from_numpy(arrays["index_by_quality"] / 2.0**12)
    state["neighbours"] = torch.from_numpy(arrays["neighbours"] / 2.0**12)[:, :, None]
    model.load_state_dict(state)
    latents = codec.analyse(tile(codec.card, 128, 128, "float32"), quality=5.0)
    z = codec._networks.hyper_latent(latents.y)
    y = torch.from_numpy(latents.y).float()[None]
    with torch.inference_mode():
        mean, index = model(y, torch.from_numpy(z).float()[None], torch.tensor([5.0]))
        bits = float(model.y_bits(y, mean, index).sum())
    counted = 8 * len(codec._entropy.encode(latents.y, z, 5.0)[1])
    assert counted < 1.02 * bits + 64


def test_packing_takes_what_the_quantiser_found_and_only_for_its_integers(codec):
    latents = codec.analyse(tile(codec.card, 96, 128), quality=4.0)
    found = latents.quantised
    packed = codec.pack(latents)
    assert codec.unpack(packed).y.tobytes() == latents.y.tobytes()
    streams = codec._entropy.encode(latents.y, found.z, latents.quality)
    assert list(streams) == bitstream.read(packed, tag=None)[1][-2:]
    other = replace(latents, y=np.roll(latents.y, 1, axis=2))
    assert codec.unpack(codec.pack(other)).y.tobytes() == other.y.tobytes()


def test_weights_whose_sums_could_be_inexact_are_refused(arrays):
    wide = dict(arrays)
    wide["spatial.0.weight"] = np.full((96, 96, 3, 3), 2**31 - 1, np.int64)
    with pytest.raises(WeightsInvalidError, match="2\\^53"):
        IntegerEntropyModel(wide)
    with pytest.raises(WeightsInvalidError, match="lack"):
        IntegerEntropyModel({k: v for k, v in arrays.items() if k != "neighbours"})


def test_payloads_of_other_shapes_are_refused(codec, payload):
    header, sections, digest = bitstream.read(payload, tag=None)
    with pytest.raises(PayloadError, match="sections"):
        codec.unpack(bitstream.write(header, sections[:2], digest))
    with pytest.raises(PayloadError, match="spectral basis"):
        codec.unpack(bitstream.write(header, [b"", *sections[1:]], digest))
    with pytest.raises(PayloadError):
        codec.unpack(bitstream.write(header, [*sections[:2], sections[2][:-9]], digest))


def test_card_basis_latents_compare_between_tiles(codec):
    x = tile(codec.card, 64, 64, "float32")
    shifted = np.roll(x, 8, axis=2)
    a = codec.analyse(x, basis="card").y
    b = codec.analyse(shifted, basis="card").y
    inner = np.s_[:, 3:5, 3:5]
    moved = np.roll(b, -1, axis=2)[inner]
    assert np.abs(a[inner] - moved).mean() < 0.05
    with pytest.raises(InvalidParameterError, match="basis"):
        codec.encode(x, basis="none")


def test_a_tile_without_data_runs_no_network(codec, monkeypatch):
    def fail(*args):
        raise AssertionError("the network ran")

    for step in ("analyse", "synthesise"):
        monkeypatch.setattr(codec._networks.transform, step, fail)
    monkeypatch.setattr(codec._networks.hyper_analysis, "forward", fail)
    for dtype, nodata in (("float32", None), ("int16", -1)):
        x = np.full((12, 50, 41), np.nan if nodata is None else nodata, dtype)
        for basis in ("tile", "card"):
            payloads = codec.encode_batch([x, x], nodata=nodata, basis=basis)
            for out in codec.decode_batch(payloads):
                np.testing.assert_array_equal(out, x)


@pytest.mark.realdata
def test_left_out_places_take_no_more_bytes_than_klt_and_jpeg_2000(codec, shared_data):
    from openeo_nc.benchmarks.rate_distortion import MEAN, measure, summarise
    from openeo_nc.benchmarks.tiles import from_split

    rivals = {"klt-jpeg2000": (51, 54, 57, 60), "klt-jpeg2000-joint": (54, 57, 60, 63)}
    levels = {CODEC: (1.5, 2.5, 3.5, 4.5), **rivals}
    tiles = from_split(shared_data, "s2l2a")[::4]
    found = {
        (row["codec"], row["psnr"]): row["of_rival"]
        for row in summarise(measure(tiles, levels), tiles)["at_psnr"]
        if row["place"] == MEAN
    }
    for decibel in (40.0, 43.0):
        for rival in rivals:
            assert found[CODEC, decibel][rival] <= 1


@pytest.mark.realdata
def test_the_card_tells_the_bytes_and_psnr_of_its_weights(codec, shared_data):
    from openeo_nc.benchmarks.tiles import from_split

    for one in from_split(shared_data, "s2l2a")[::4]:
        for quality in ("2", "5"):
            stated = codec.card.evaluation["bytes"][one.place][one.name][quality]
            payload = codec.encode(one.pixels, float(quality))
            # encoders have become better since, by less than 1%
            assert 0.99 * stated["bytes"] < len(payload) < 1.002 * stated["bytes"]
            error = np.clip(codec.decode(payload).astype(float), 0, 1e4)
            error -= np.clip(one.pixels.astype(float), 0, 1e4)
            psnr = 10 * np.log10(1e8 / np.mean(error**2))
            assert psnr == pytest.approx(stated["psnr"], abs=0.02)


def test_training_and_evaluation_places_are_disjoint():
    from pathlib import Path

    import openeo_nc

    path = Path(openeo_nc.__file__).parent / "training" / "splits" / "s2l2a.json"
    split = json.loads(path.read_text())
    sides = [
        {(e["place"], f) for e in split[side] for f in e["files"]}
        for side in ("train", "evaluation")
    ]
    for k in (0, 1):
        assert not {item[k] for item in sides[0]} & {item[k] for item in sides[1]}
    stated = get_card(CODEC).evaluation["split"]
    assert set(stated["train"]) == {place for place, _ in sides[0]}
    assert set(stated["evaluation"]) == {place for place, _ in sides[1]}


@pytest.mark.realdata
def test_no_training_image_overlaps_an_evaluation_image(shared_data):
    from pathlib import Path

    import rasterio
    from rasterio.warp import transform_bounds

    import openeo_nc

    path = Path(openeo_nc.__file__).parent / "training" / "splits" / "s2l2a.json"
    split = json.loads(path.read_text())

    def boxes(side):
        for entry in split[side]:
            for name in entry["files"]:
                with rasterio.open(shared_data / name) as file:
                    if file.crs is not None:
                        yield name, transform_bounds(file.crs, "EPSG:4326", *file.bounds)

    train = list(boxes("train"))
    for name, (w, s, e, n) in boxes("evaluation"):
        for other, (w2, s2, e2, n2) in train:
            assert e < w2 or e2 < w or n < s2 or n2 < s, (name, other)
