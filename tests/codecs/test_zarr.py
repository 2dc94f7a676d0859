"""The Zarr codec alone, flat and sharded, through zarr's own arrays and a codec that counts."""

import asyncio
import json
import threading

import fakes
import numpy as np
import pytest
import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.storage import LocalStore, MemoryStore

from openeo_nc.codecs import bitstream, loading, reading, registry
from openeo_nc.codecs.rate import Rate
from openeo_nc.codecs.zarr import NO_LATENT, CodedPipeline, NeuralCodec
from openeo_nc.errors import (
    InvalidParameterError,
    PartialWriteError,
    PayloadError,
    WeightsNotFoundError,
)

TILE = 16
SHARDS = [None, (1, 3, 2 * TILE, 2 * TILE)]
BATCHED = f"{BatchedCodecPipeline.__module__}.{BatchedCodecPipeline.__qualname__}"


@pytest.fixture(autouse=True)
def fake():
    with fakes.codecs_installed() as blocks:
        loading._codecs.clear()
        yield blocks
        loading._codecs.clear()


def pixels(dates=2, bands=3, height=48, width=32, dtype="uint16", seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 10_000, (dates, bands, height, width)).astype(dtype)


def array(store, values, shards=None, **codec):
    created = zarr.create_array(
        store,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, values.shape[1], TILE, TILE),
        shards=shards,
        serializer=NeuralCodec(codec="fake-any", **codec),
        compressors=None,
        fill_value=0,
    )
    created[:] = values
    return created


def objects(store):
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def latents_of(document):
    """zarr.json of the same chunks as latents, made here independently of the package."""
    document = json.loads(json.dumps(document))
    t, _, y, x = document["shape"]
    document["shape"] = [t, 48, y // 4, x // 4]
    document["data_type"], document["fill_value"] = "int32", int(NO_LATENT)
    outer = document["chunk_grid"]["configuration"]["chunk_shape"]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [1, 48, outer[2] // 4, outer[3] // 4]
    codec = document["codecs"][0]
    if codec["name"] == "sharding_indexed":
        codec["configuration"]["chunk_shape"] = [1, 48, TILE // 4, TILE // 4]
        codec = codec["configuration"]["codecs"][0]
    codec["configuration"]["view"] = "latents"
    return document


@pytest.mark.parametrize("shards", SHARDS)
def test_pixels_come_back_and_metadata_names_the_codec(tmp_path, shards):
    values = pixels()
    array(tmp_path / "a", values, shards, quality=8.0)
    reopened = zarr.open_array(tmp_path / "a", mode="r")
    np.testing.assert_array_equal(reopened[:], values)
    np.testing.assert_array_equal(reopened[1, 2, 5:40, 7:30], values[1, 2, 5:40, 7:30])
    codec = json.loads((tmp_path / "a" / "zarr.json").read_text())["codecs"][0]
    codec = codec["configuration"]["codecs"][0] if shards else codec
    assert codec["name"] == "openeo_nc"
    assert codec["configuration"] == {
        "codec": "fake-any", "weights_sha256": None, "quality": 8.0, "view": "pixels",
        "basis": "tile", "nodata": None,
    }  # fmt: skip


@pytest.mark.parametrize("shards", SHARDS)
def test_latents_are_read_from_the_same_chunks(tmp_path, fake, shards):
    values = pixels()
    array(tmp_path / "a", values, shards, quality=8.0)
    before = objects(tmp_path / "a" / "c")
    document = tmp_path / "a" / "zarr.json"
    document.write_text(json.dumps(latents_of(json.loads(document.read_text()))))
    latents = zarr.open_array(tmp_path / "a", mode="r")
    assert latents.dtype == np.int32
    cells = values.reshape(2, 3, 12, 4, 8, 4).transpose(0, 1, 3, 5, 2, 4).reshape(2, 48, 12, 8)
    np.testing.assert_array_equal(latents[:], cells)
    assert fake.calls["synthesise"] == 0
    assert objects(tmp_path / "a" / "c") == before


def test_patches_without_a_valid_pixel_have_no_latents(tmp_path):
    values = pixels(dates=1, height=16, width=16, dtype="float32")
    values[:, :, :4, :8] = np.nan
    values[:, 0, 8:12, 8:12] = np.nan  # one band of three: the patch still has valid pixels
    array(tmp_path / "a", values)
    document = tmp_path / "a" / "zarr.json"
    document.write_text(json.dumps(latents_of(json.loads(document.read_text()))))
    latents = zarr.open_array(tmp_path / "a", mode="r")[0]
    expected = np.zeros((4, 4), bool)
    expected[0, :2] = True
    np.testing.assert_array_equal((latents == NO_LATENT).all(axis=0), expected)
    assert (latents != NO_LATENT)[:, ~expected].all()


def test_no_data_of_integers_is_kept(tmp_path):
    values = pixels(dates=1, dtype="int16")
    values[:, :, 3:9, 2:30] = -5
    stored = array(tmp_path / "a", values, nodata=-5.0, quality=4.0)
    np.testing.assert_array_equal(stored[:] == -5, values == -5)


@pytest.mark.parametrize("pipeline", [None, BATCHED])
@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize(
    "region",
    [
        np.s_[0, :, 0:8, 0:16],
        np.s_[:, :, 0:17, :],
        np.s_[0, 1, 0:16, 0:16],
        np.s_[0, :, ::2, 0:16],
        np.s_[0, :, 4, 4],
    ],
)
def test_partial_writes_are_refused_and_change_nothing(tmp_path, shards, region, pipeline):
    array(tmp_path / "a", pixels(), shards)
    before = objects(tmp_path)
    with zarr.config.set({"codec_pipeline.path": pipeline} if pipeline else {}):
        stored = zarr.open_array(tmp_path / "a", mode="r+")
        with pytest.raises(PartialWriteError, match="tiles of"):
            stored[region] = 7
        if pipeline is None or shards is not None or region != np.s_[:, :, 0:17, :]:
            # zarr's own pipeline writes the whole tiles of a write before it meets a partial one
            assert objects(tmp_path) == before


@pytest.mark.parametrize("shards", SHARDS)
def test_partial_orthogonal_writes_are_refused(tmp_path, shards):
    stored = array(tmp_path / "a", pixels(), shards)
    before = objects(tmp_path)
    with pytest.raises(PartialWriteError):
        stored.oindex[[0], :, [1, 2, 3], :] = 7
    assert objects(tmp_path) == before


@pytest.mark.parametrize("shards", SHARDS)
def test_whole_tiles_are_written(tmp_path, shards):
    values = pixels()
    stored = array(tmp_path / "a", values, shards)
    new = pixels(seed=2)
    stored[1, :, 16:32, 0:16] = new[1, :, 16:32, 0:16]
    stored[0, :, 0:16, :] = 9
    values[1, :, 16:32, 0:16] = new[1, :, 16:32, 0:16]
    values[0, :, 0:16, :] = 9
    np.testing.assert_array_equal(stored[:], values)


def test_latents_are_read_only(tmp_path):
    stored = zarr.create_array(
        tmp_path / "a", shape=(1, 48, 4, 4), dtype="int32", chunks=(1, 48, 4, 4), compressors=None,
        serializer=NeuralCodec(codec="fake-any", view="latents"),
    )  # fmt: skip
    with pytest.raises(InvalidParameterError, match="read-only"):
        stored[:] = 1


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({}, "codec at least"),
        ({"codec": "a", "level": 3}, "level"),
        ({"codec": "a", "view": "both"}, "'both'"),
    ],
)
def test_wrong_configurations_are_refused(configuration, message):
    with pytest.raises(InvalidParameterError, match=message):
        NeuralCodec.from_dict({"name": "openeo_nc", "configuration": configuration})


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"others": ["sperr"]}, "others"),
        ({"rate": 4}, "rate"),
        ({"rate": {"bits": 4}}, "bits"),
        ({"rate": {"max_error": 4}}, "rate"),
        ({"rate": {"max_error": [-4]}}, "max_error"),
        ({"rate": {"quality": 3, "target_psnr": 40}}, "at most one"),
    ],
)
def test_wrong_rates_and_other_codecs_are_refused(configuration, message):
    with pytest.raises(InvalidParameterError, match=message):
        NeuralCodec.from_dict(
            {"name": "openeo_nc", "configuration": {"codec": "a"} | configuration}
        )


def test_other_codecs_and_the_rate_are_in_the_metadata_where_there_are_any():
    codec = NeuralCodec(
        codec="fake-any", others=(("pcodec", None),), rate=Rate(max_error=(1.0, 2.0))
    )
    document = json.loads(json.dumps(codec.to_dict()))
    assert document["configuration"]["others"] == {"pcodec": None}
    assert document["configuration"]["rate"] == {"max_error": [1.0, 2.0]}
    assert NeuralCodec.from_dict(document) == codec
    assert hash(NeuralCodec.from_dict(document)) == hash(codec)


@pytest.mark.parametrize("shards", SHARDS)
def test_chunks_are_written_and_read_by_whichever_codec_is_smallest(tmp_path, shards):
    values = pixels(dtype="int16")
    values[0] = np.tile(values[0, :, :4, :4], (1, 12, 8))  # each patch as the one before
    stored = array(
        tmp_path / "a", values, shards, nodata=-1.0, others=(("pcodec", None),),
        rate=Rate(max_error=(3.0, 3.0, 3.0)),
    )  # fmt: skip
    assert np.abs(stored[:].astype(int) - values).max() <= 3
    content = b"".join(objects(tmp_path / "a" / "c").values())
    assert b"FAKE" in content
    assert bitstream.tag_of("pcodec", None) in content


def test_arrays_that_are_no_tiles_are_refused():
    with pytest.raises(InvalidParameterError, match="bands, y, x"):
        zarr.create_array(
            MemoryStore(), shape=(4, 4), dtype="uint16", chunks=(4, 4), compressors=None,
            serializer=NeuralCodec(codec="fake-any"),
        )  # fmt: skip


@pytest.mark.parametrize("shards", SHARDS)
def test_damage_is_a_payload_error(tmp_path, shards):
    array(tmp_path / "a", pixels(), shards)
    file = tmp_path / "a" / "c" / "0" / "0" / "0" / "0"
    whole = file.read_bytes()
    stored = zarr.open_array(tmp_path / "a", mode="r")
    for damaged in (b"", whole[:2], b"x" + whole[1:], whole[1:] if shards else b"WRONG" + whole):
        file.write_bytes(damaged)
        with pytest.raises(PayloadError):
            stored[0]
    if shards:
        for place in (-1, -5, -20):  # checksum, last entry of the index
            file.write_bytes(
                whole[:place] + bytes([whole[place] ^ 1]) + whole[len(whole) + place + 1 :]
            )
            with pytest.raises(PayloadError, match="index of a shard"):
                stored[0, :, :16, :16]


def test_a_payload_of_another_array_is_a_payload_error(tmp_path):
    array(tmp_path / "a", pixels())
    array(tmp_path / "b", pixels(dtype="int16"))
    other = (tmp_path / "b" / "c" / "0" / "0" / "0" / "0").read_bytes()
    (tmp_path / "a" / "c" / "0" / "0" / "0" / "0").write_bytes(other)
    with pytest.raises(PayloadError, match="int16"):
        zarr.open_array(tmp_path / "a", mode="r")[:]


def test_one_damaged_chunk_leaves_other_readers_alone(tmp_path, monkeypatch, fake):
    """Two threads read at once and share a batch; only one of them reads the damaged chunk."""
    monkeypatch.setattr(reading, "WAIT", 0.2)
    batches = []

    def decode_batch(self, payloads):
        batches.append(len(payloads))
        return [self.decode(p) for p in payloads]

    monkeypatch.setattr(fake.FakeCodec, "decode_batch", decode_batch)
    values = pixels()
    array(tmp_path / "a", values)
    (tmp_path / "a" / "c" / "0" / "0" / "0" / "0").write_bytes(b"damaged")
    stored = zarr.open_array(tmp_path / "a", mode="r")
    found = {}

    def read(name, region):
        try:
            found[name] = stored[region]
        except PayloadError as error:
            found[name] = error

    regions = {"bad": np.s_[0, :, :16, :16], "good": np.s_[1, :, :16, :]}
    threads = [threading.Thread(target=read, args=item) for item in regions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(batches) >= 3  # a reader that an earlier test left may have joined them
    assert isinstance(found["bad"], PayloadError)
    np.testing.assert_array_equal(found["good"], values[regions["good"]])


def test_reads_are_batched_and_leave_the_event_loop_free(tmp_path, monkeypatch, fake):
    sizes, loops = [], []

    def decode_batch(self, payloads):
        sizes.append(len(payloads))
        try:
            loops.append(asyncio.get_running_loop())
        except RuntimeError:
            loops.append(None)
        return [self.decode(p) for p in payloads]

    monkeypatch.setattr(fake.FakeCodec, "decode_batch", decode_batch)
    values = pixels(dates=4, height=64, width=64)
    array(tmp_path / "a", values, (1, 3, 64, 64))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a", mode="r")[:], values)
    assert sum(sizes) == 64
    assert len(sizes) <= 16
    assert max(sizes) <= reading.BATCH
    assert set(loops) == {None}


def test_errors_that_are_not_ours_reach_the_reader(tmp_path, monkeypatch, fake):
    array(tmp_path / "a", pixels())

    def fail(self, payload):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fake.FakeCodec, "unpack", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        zarr.open_array(tmp_path / "a", mode="r")[:]


def test_missing_chunks_are_fill_value(tmp_path):
    stored = zarr.create_array(
        tmp_path / "a", shape=(1, 3, 32, 32), dtype="float32", chunks=(1, 3, 16, 16),
        compressors=None, serializer=NeuralCodec(codec="fake-any"), fill_value=np.nan,
    )  # fmt: skip
    assert np.isnan(stored[:]).all()


def test_unknown_weights_are_named(tmp_path):
    digest = "ab" * 32
    array(tmp_path / "a", pixels())
    document = tmp_path / "a" / "zarr.json"
    document.write_text(
        document.read_text().replace('"weights_sha256": null', f'"weights_sha256": "{digest}"')
    )
    stored = zarr.open_array(tmp_path / "a", mode="r")
    with pytest.raises(WeightsNotFoundError, match=digest) as caught:
        stored[:]
    assert "OPENEO_NC_WEIGHTS" in str(caught.value)


def test_other_arrays_keep_zarrs_pipeline(tmp_path):
    plain = zarr.create_array(tmp_path / "p", shape=(4, 4), dtype="f4", chunks=(2, 2))
    coded = array(tmp_path / "a", pixels())
    assert type(plain.async_array.codec_pipeline) is BatchedCodecPipeline
    assert type(coded.async_array.codec_pipeline) is CodedPipeline
    plain[1:3, 1:3] = 1  # partial writes of other arrays go on working
    assert plain[:].sum() == 4


def test_a_memory_store_serves_too():
    store = MemoryStore()
    values = pixels()
    array(store, values, SHARDS[1])
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[:], values)


def test_weights_brought_by_a_store_are_found_beside_its_arrays(tmp_path, monkeypatch, fake):
    """The card that `.nc` holds opens a codec that this installation does not know."""
    values = pixels()
    array(tmp_path / "s" / "data", values)
    card = registry.card_document(registry.get_card("fake-any")) | {"codec_id": "fake-elsewhere"}
    document = tmp_path / "s" / "data" / "zarr.json"
    document.write_text(document.read_text().replace("fake-any", "fake-elsewhere"))
    for chunk in (tmp_path / "s" / "data" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(repack(chunk.read_bytes()))
    (tmp_path / "s" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (tmp_path / "s" / ".nc").mkdir()
    (tmp_path / "s" / ".nc" / "card.json").write_text(json.dumps(card))
    for root in (tmp_path, tmp_path / "s"):
        group = zarr.open_group(
            LocalStore(root, read_only=True), mode="r", path="s" if root == tmp_path else ""
        )
        np.testing.assert_array_equal(group["data"][:], values)


def repack(payload):
    size = int.from_bytes(payload[4:8], "little")
    head = payload[8 : 8 + size].replace(b"fake-any", b"fake-elsewhere")
    return payload[:4] + len(head).to_bytes(4, "little") + head + payload[8 + size :]
