"""A cube opened from a store carries the store's payloads: exact masks, no second coding."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.store import write_store
from openeo_nc.cubes.stored import open_cube


@pytest.fixture
def holed(codecs):
    """A cube with no data in part of a patch and in all of another."""
    cube = fakes.cube(nodata=0)
    values = cube.values
    values[0, :, 3:9, 4:7] = 0
    values[1, :, 16:30, 12:30] = 0
    return cube.copy(data=values).chunk({"t": 1})


def payloads(cube):
    return payloads_of(cube).blocks.compute().tolist()


@pytest.mark.parametrize("shard_tiles", [1, 2])
def test_payloads_are_those_that_were_saved(codecs, holed, tmp_path, shard_tiles):
    for coded in (compress_cube(holed, "fake-rgb", 5), encode_cube(holed, "fake-rgb", 5)):
        path = tmp_path / payloads_of(coded).kind
        write_store(coded, path, shard_tiles=shard_tiles)
        opened = open_cube(path)
        before, after = payloads_of(coded), payloads_of(opened)
        assert payloads(opened) == payloads(coded)
        for name in ("card", "spec", "quality", "grid", "window", "bands", "dtype", "nodata",
                     "kind", "scale_factor"):  # fmt: skip
            assert getattr(after, name) == getattr(before, name), name
        np.testing.assert_array_equal(after.times, before.times)


def test_opening_reads_no_payload_and_computes_nothing(codecs, holed, tmp_path, building):
    write_store(compress_cube(holed, "fake-rgb"), tmp_path / "store")
    codecs.calls.clear()
    with building():
        opened = open_cube(tmp_path / "store")
    assert payloads_of(opened).blocks.shape == (2, 3, 3)
    assert not codecs.calls


def test_a_loaded_embedding_decodes_with_its_exact_mask(codecs, holed, tmp_path):
    write_store(encode_cube(holed, "fake-rgb"), tmp_path / "store")
    embedding = open_cube(tmp_path / "store")
    np.testing.assert_array_equal(decode_cube(embedding).values, holed.values)
    codecs.calls.clear()
    np.testing.assert_array_equal(decode_cube(embedding.isel(t=[0])).values, holed.values[:1])
    assert codecs.calls["analyse"] == 0


def test_a_loaded_embedding_tells_that_it_was_changed(codecs, holed, tmp_path):
    write_store(encode_cube(holed, "fake-rgb"), tmp_path / "store")
    embedding = open_cube(tmp_path / "store")
    with pytest.raises(errors.EmbeddingChangedError):
        decode_cube(embedding * 2).compute()


@pytest.mark.parametrize("coder", [compress_cube, encode_cube])
def test_saving_what_was_loaded_copies_payloads(codecs, holed, tmp_path, coder):
    write_store(coder(holed, "fake-rgb", 5), tmp_path / "one")
    codecs.calls.clear()
    write_store(open_cube(tmp_path / "one"), tmp_path / "two")
    assert codecs.calls["pack"] == codecs.calls["analyse"] == 0
    one, two = open_cube(tmp_path / "one"), open_cube(tmp_path / "two")
    assert payloads(one) == payloads(two)
    assert one.identical(two.assign_attrs(one.attrs))


def test_what_is_changed_after_loading_is_saved_as_such(codecs, holed, tmp_path):
    write_store(compress_cube(holed, "fake-rgb"), tmp_path / "one")
    doubled = open_cube(tmp_path / "one") * 2
    assert payloads_of(doubled) is None
    write_store(doubled, tmp_path / "two")
    np.testing.assert_array_equal(open_cube(tmp_path / "two").values, doubled.values)


def test_another_view_and_a_plain_store_carry_none(codecs, holed, tmp_path):
    write_store(encode_cube(holed, "fake-rgb"), tmp_path / "coded")
    write_store(holed, tmp_path / "plain")
    assert payloads_of(open_cube(tmp_path / "coded", "pixels")) is None
    assert payloads_of(open_cube(tmp_path / "plain")) is None


def test_a_damaged_shard_is_a_typed_error(codecs, holed, tmp_path):
    write_store(compress_cube(holed, "fake-rgb"), tmp_path / "store")
    opened = open_cube(tmp_path / "store")
    shard = next(p for p in (tmp_path / "store" / "data" / "c").rglob("*") if p.is_file())
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(errors.PayloadError, match="damaged"):
        payloads_of(opened).blocks.compute()
    shard.unlink()
    with pytest.raises(errors.PayloadError, match="no tile"):
        payloads_of(opened).blocks.compute()
