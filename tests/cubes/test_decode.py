"""decode_cube: exact ways back, and a typed error that says why there is none."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.decode import decode_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.payloads import ATTRIBUTE


def detached(embedding):
    """As it comes from a store of another process: values and plain attributes."""
    return embedding.compute().assign_attrs({ATTRIBUTE: "text"})


@pytest.fixture
def holed(codecs):
    """A cube with no data in part of a patch and in all of another."""
    cube = fakes.cube(nodata=0)
    values = cube.values
    values[0, :, 3:9, 4:7] = 0
    values[1, :, 16:30, 12:30] = 0
    return cube.copy(data=values).chunk({"t": 1})


def test_building_computes_nothing(codecs, building):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    with building():
        decode_cube(embedding)
        decode_cube(embedding.isel(t=[0]), bands=["B04"])
        decode_cube(embedding.assign_attrs({ATTRIBUTE: "text"}))
    assert not codecs.calls


def test_encoded_and_decoded_is_the_request_again(codecs, holed):
    decoded = decode_cube(encode_cube(holed, "fake-rgb"))
    np.testing.assert_array_equal(decoded.values, holed.values)
    assert decoded.dtype == holed.dtype
    for name in ("t", "bands", "y", "x"):
        np.testing.assert_array_equal(decoded[name], holed[name])
    assert decoded.rio.transform() == holed.rio.transform()
    assert decoded.attrs["_FillValue"] == 0


def test_filtered_by_date_it_keeps_the_exact_mask(codecs, holed):
    decoded = decode_cube(encode_cube(holed, "fake-rgb").isel(t=[1]))
    np.testing.assert_array_equal(decoded.values, holed.values[1:])
    assert codecs.calls["analyse"] == 9


def test_cropped_to_whole_tiles_it_decodes(codecs):
    cube = fakes.cube(40, 36)
    embedding = encode_cube(cube, "fake-rgb").isel(x=slice(4, 8), y=slice(4, 12))
    decoded = decode_cube(embedding)
    np.testing.assert_array_equal(decoded, cube.sel(x=decoded.x, y=decoded.y))
    assert decoded.sizes["x"] == 16


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_without_payloads_it_decodes_from_the_lattice(codecs, dtype):
    cube = fakes.cube(dtype=dtype)
    decoded = decode_cube(detached(encode_cube(cube, "fake-rgb")).isel(t=[1]))
    np.testing.assert_array_equal(decoded.values, cube.values[1:])
    assert decoded.dtype == cube.dtype
    assert codecs.calls["synthesise"] == 9


def test_without_payloads_patches_without_data_stay_so(codecs, holed):
    decoded = decode_cube(detached(encode_cube(holed, "fake-rgb"))).values
    empty = encode_cube(holed, "fake-rgb").isnull().all("embedding").values
    assert empty[1].any()
    assert (decoded[1, :, 20:28, 16:28] == 0).all()
    np.testing.assert_array_equal(decoded[holed.values != 0], holed.values[holed.values != 0])


def test_masked_patches_become_no_data(codecs):
    embedding = encode_cube(fakes.cube(dtype="float32"), "fake-rgb")
    masked = embedding.where(embedding.x < embedding.x[4])
    decoded = decode_cube(masked.assign_attrs(embedding.attrs)).values
    assert np.isnan(decoded).any()
    assert np.isfinite(decoded[..., :8]).all()


def test_reflectances_come_back_as_such(codecs):
    cube = (fakes.cube() * np.float32(0.0001)).astype("float32").assign_attrs({"nc:scale": 1.0})
    decoded = decode_cube(encode_cube(cube, "fake-rgb"))
    np.testing.assert_allclose(decoded.values, cube.values, atol=0.6e-4)
    assert decoded.attrs["nc:scale"] == 1.0


def test_integers_in_other_numbers_keep_no_data(codecs, holed):
    """Stored as 2 x reflectance x 10000: coded as float32, given back as uint16."""
    cube = holed.assign_attrs({"nc:scale": 0.00005})
    for embedding in (encode_cube(cube, "fake-rgb"), detached(encode_cube(cube, "fake-rgb"))):
        decoded = decode_cube(embedding)
        assert decoded.dtype == np.uint16
        assert np.abs(decoded.values.astype(int) - cube.values)[cube.values != 0].max() <= 2
    exact = decode_cube(encode_cube(cube, "fake-rgb")).values
    np.testing.assert_array_equal(exact == 0, cube.values == 0)


def test_bands_are_selected_and_ordered(codecs):
    cube = fakes.cube()
    decoded = decode_cube(encode_cube(cube, "fake-rgb"), bands=["B04", "B02"])
    np.testing.assert_array_equal(decoded, cube.sel(bands=["B04", "B02"]))
    with pytest.raises(errors.BandMismatchError, match="B08"):
        decode_cube(encode_cube(cube, "fake-rgb"), bands=["B08"])


def test_one_date_without_t(codecs):
    cube = fakes.cube()
    decoded = decode_cube(encode_cube(cube, "fake-rgb").isel(t=1))
    assert decoded.dims == ("bands", "y", "x")
    np.testing.assert_array_equal(decoded, cube.isel(t=1))


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("change", [lambda e: e + 0.25, lambda e: e * 1.5, lambda e: e.mean("t")])
def test_arithmetic_is_seen(codecs, carried, change):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    embedding = embedding if carried else detached(embedding)
    with pytest.raises(errors.EmbeddingChangedError):
        decode_cube(change(embedding).assign_attrs(embedding.attrs)).compute()


@pytest.mark.parametrize("carried", [True, False])
def test_a_channel_without_data_is_seen(codecs, carried):
    embedding = encode_cube(fakes.cube(dtype="float32"), "fake-rgb")
    embedding = embedding if carried else detached(embedding)
    masked = embedding.where(embedding.embedding != "e003")
    with pytest.raises(errors.EmbeddingChangedError):
        decode_cube(masked.assign_attrs(embedding.attrs)).compute()


def test_values_that_no_latent_has_are_seen(codecs):
    embedding = detached(encode_cube(fakes.cube(dtype="float32"), "fake-rgb"))
    with pytest.raises(errors.EmbeddingChangedError):
        decode_cube((embedding * 2.0**40).assign_attrs(embedding.attrs)).compute()


@pytest.mark.parametrize(
    "wrong",
    [
        {"nc:step": "fine"}, {"nc:step": None}, {"nc:step": 0}, {"nc:step": -1.0},
        {"nc:quality": "high"}, {"nc:quality": 99}, {"nc:dtype": "pixels"},
        {"nc:dtype": "complex64"}, {"nc:source_dtype": None}, {"nc:source_dtype": []},
        {"nc:bands": []}, {"nc:bands": ["B02"]}, {"nc:scale": "large"}, {"nc:nodata": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_attributes_that_no_encoder_wrote_are_refused(codecs, wrong):
    embedding = detached(encode_cube(fakes.cube(), "fake-rgb")).assign_attrs(wrong)
    with pytest.raises(errors.EmbeddingNotDecodableError, match="attributes"):
        decode_cube(embedding)


def test_a_step_of_another_quality_is_seen(codecs):
    embedding = detached(encode_cube(fakes.cube(), "fake-rgb", quality=4))
    with pytest.raises(errors.EmbeddingChangedError, match="quality 5"):
        decode_cube(embedding.assign_attrs({"nc:quality": 5.0})).compute()


def test_arithmetic_on_the_lattice_is_seen_while_payloads_are_known(codecs):
    embedding = encode_cube(fakes.cube(), "fake-rgb")
    with pytest.raises(errors.EmbeddingChangedError):
        decode_cube((embedding * 2).assign_attrs(embedding.attrs)).compute()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda e: e.isel(x=slice(1, None)), errors.EmbeddingMisalignedError, "1, 0, 0 and 0"),
        (lambda e: e.isel(y=slice(0, 6)), errors.EmbeddingMisalignedError, "Crop after"),
        (lambda e: e.isel(x=[0, 1, 5, 6]), errors.EmbeddingMisalignedError, "evenly"),
        (lambda e: e.assign_coords(x=e.x + 3), errors.EmbeddingMisalignedError, "grid"),
        (
            lambda e: e.coarsen(x=2, y=2).mean().assign_coords(embedding=e.embedding),
            errors.EmbeddingMisalignedError,
            "resampled",
        ),
        (lambda e: e.isel(embedding=slice(0, 8)), errors.EmbeddingChangedError, "48 channels"),
        (lambda e: e.isel(embedding=slice(None, None, -1)), errors.EmbeddingChangedError, "order"),
        (lambda e: e.drop_attrs(), errors.EmbeddingNotDecodableError, "nc:codec"),
        (
            lambda e: e.assign_attrs({"nc:codec": "other"}),
            errors.EmbeddingNotDecodableError,
            "unknown codec",
        ),
        (
            lambda e: e.assign_attrs({"nc:weights_sha256": "00"}),
            errors.EmbeddingNotDecodableError,
            "weights 00",
        ),
        (lambda e: e.isel(embedding=0), errors.DimensionMissingError, "embedding"),
        (lambda e: e.drop_vars("spatial_ref"), errors.CRSMissingError, "reference"),
    ],
)
def test_what_cannot_be_decoded_is_refused_when_the_graph_is_built(codecs, change, error, says):
    changed = change(encode_cube(fakes.cube(), "fake-rgb"))
    with pytest.raises(error, match=says):
        decode_cube(changed)


def test_a_raster_cube_is_no_embedding(codecs):
    with pytest.raises(errors.EmbeddingNotDecodableError):
        decode_cube(fakes.cube())
