"""encode_cube: whole tiles, patch centres, values on the lattice of the latents."""

from __future__ import annotations

import dask
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import payloads_of


def test_building_computes_nothing(codecs, building):
    with building():
        encode_cube(fakes.cube(), "fake-rgb")
    assert not codecs.calls


def test_values_are_the_pixels_of_each_patch(codecs):
    """The fake's latents are the patch itself, so plain indexing is the oracle."""
    cube = fakes.cube(32, 32, x0=160 * 3000, y0=160 * 30_000)
    embedding = encode_cube(cube, "fake-rgb")
    assert embedding.dims == ("t", "embedding", "y", "x")
    assert embedding.shape == (2, 48, 8, 8)
    assert embedding.dtype == np.float32
    patch = cube.values[1, :, 8:12, 20:24].reshape(-1)
    np.testing.assert_array_equal(embedding.values[1, :, 2, 5], patch)
    assert float(embedding.y[2]) == float(cube.y[8:12].mean())
    assert float(embedding.x[5]) == float(cube.x[20:24].mean())


def test_it_is_widened_to_whole_tiles_and_nan_where_no_pixel_is(codecs):
    cube = fakes.cube(20, 20, x0=160 * 3000 + 50, y0=160 * 30_000 - 90)
    embedding = encode_cube(cube, "fake-rgb")
    assert embedding.shape == (2, 48, 8, 8)
    gone = np.isnan(embedding.values)
    assert (gone.any(axis=1) == gone.all(axis=1)).all()
    valid = ~gone[0, 0]
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    # columns 5..24 and rows 9..28 of the tiles hold pixels
    assert (columns[0], columns[-1]) == (5 // 4, 24 // 4)
    assert (rows[0], rows[-1]) == (9 // 4, 28 // 4)


def test_the_lattice_is_a_multiple_of_the_step(codecs):
    embedding = encode_cube(fakes.cube(), "fake-rgb", quality=4)
    assert embedding.attrs["nc:step"] == 16.0
    assert np.all(np.nan_to_num(embedding.values) % 16 == 0)


def test_crs_and_transform_are_those_of_the_patches(codecs):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    assert embedding.rio.crs.to_epsg() == 32631
    assert embedding.rio.resolution() == (40.0, -40.0)


def test_payloads_and_values_together_analyse_once(codecs):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    payloads = payloads_of(embedding)
    assert payloads.kind == "latents"
    dask.compute(payloads.blocks, embedding, embedding.mean())
    assert codecs.calls == {"analyse": 18, "pack": 18}


def test_values_alone_are_not_entropy_coded(codecs):
    encode_cube(fakes.cube(), "fake-rgb").compute()
    assert codecs.calls == {"analyse": 18}


def test_attributes_say_what_decoding_needs(codecs):
    attrs = encode_cube(fakes.cube(nodata=0), "fake-rgb", quality=7.5, scale=0.0001).attrs
    assert attrs["emb:type"] == "chip"
    assert attrs["nc:codec"] == "fake-rgb"
    assert attrs["nc:quality"] == 7.5
    assert attrs["nc:bands"] == ["B02", "B03", "B04"]
    assert attrs["nc:scale"] == 0.0001
    assert attrs["nc:nodata"] == 0
    assert attrs["nc:source_dtype"] == "uint16"


def test_a_codec_without_comparable_latents_is_refused(codecs):
    with pytest.raises(errors.InvalidParameterError, match="compress_cube"):
        encode_cube(fakes.cube(), "fake-any")
