"""compress_cube: exact outside of the quantiser, each tile encoded once, nothing computed early."""

from __future__ import annotations

import cloudpickle
import dask
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.payloads import payloads_of


def test_building_computes_nothing_and_opens_no_codec(codecs, building):
    with building():
        compress_cube(fakes.cube(), "fake-rgb")
    assert not codecs.calls
    assert not codecs.loads


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 17), (16, 16), (15, 33), (40, 36)])
@pytest.mark.parametrize("offset", [0, 30, -70])
def test_any_size_and_place_comes_back(codecs, height, width, offset):
    cube = fakes.cube(height, width, x0=600_000 + offset, y0=5_000_000 + offset)
    restored = compress_cube(cube, "fake-rgb")
    np.testing.assert_array_equal(restored.values, cube.values)
    assert restored.dims == cube.dims
    assert restored.dtype == cube.dtype
    for name in cube.coords:
        assert restored[name].identical(cube[name])


def test_tiles_are_anchored_to_the_grid_and_not_to_the_request(codecs):
    whole = fakes.cube(64, 64)
    crop = whole.isel(x=slice(21, 60), y=slice(5, 49))
    one, other = (payloads_of(compress_cube(c, "fake-any")) for c in (whole, crop))
    assert one.grid.id == other.grid.id
    # 600000 m is pixel 60000, tile 3750: the crop's second tile is whole in both
    j, i = 1, 2
    a = one.blocks[:, j, i].compute()
    b = other.blocks[:, j + one.window.j0 - other.window.j0, i + one.window.i0 - other.window.i0]
    assert a.tolist() == b.compute().tolist()


def test_integer_no_data_stays_exactly_where_it_is(codecs):
    cube = fakes.cube(nodata=0)
    values = cube.values
    values[0, :, 3:9, 4:7] = 0
    values[1] = 0
    cube = cube.copy(data=values).chunk({"t": 1})
    restored = compress_cube(cube, "fake-rgb", quality=3).values
    np.testing.assert_array_equal(restored == 0, values == 0)


def test_nan_stays_exactly_where_it_is(codecs):
    values = fakes.cube(dtype="float32").values
    values[0, 1, 3:9, 4:7] = np.nan
    values[1] = np.nan
    cube = fakes.cube(dtype="float32").copy(data=values)
    restored = compress_cube(cube, "fake-rgb", quality=3)
    np.testing.assert_array_equal(np.isnan(restored.values), np.isnan(values))
    assert np.nanmax(np.abs(restored.values - values)) <= 2.0**5 / 2
    assert restored.chunks is not None


def test_scale_makes_reflectances_out_of_the_cards_numbers(codecs):
    cube = (fakes.cube() * np.float32(0.0001)).astype("float32")
    cube.attrs["nc:scale"] = 1.0
    restored = compress_cube(cube, "fake-rgb")
    np.testing.assert_allclose(restored.values, cube.values, atol=0.6e-4)
    assert payloads_of(restored).scale_factor == pytest.approx(1e-4)
    cube.attrs.clear()
    by_argument = compress_cube(cube, "fake-rgb", scale=1.0)
    np.testing.assert_array_equal(by_argument.values, restored.values)


@pytest.mark.parametrize("missing", [["t"], ["bands"], ["t", "bands"]])
def test_dimensions_may_be_missing(codecs, missing):
    cube = fakes.cube().isel(dict.fromkeys(missing, 0), drop=True)
    restored = compress_cube(cube, "fake-any")
    assert restored.dims == cube.dims
    assert set(restored.coords) == set(cube.coords)
    np.testing.assert_array_equal(restored.values, cube.values)
    assert payloads_of(restored) is not None


def test_dimensions_may_be_in_another_order(codecs):
    cube = fakes.cube().transpose("y", "x", "t", "bands")
    restored = compress_cube(cube, "fake-rgb")
    assert restored.dims == cube.dims
    np.testing.assert_array_equal(restored.values, cube.values)


def test_payloads_and_pixels_together_encode_each_tile_once(codecs):
    compressed = compress_cube(fakes.cube(), "fake-rgb")
    blocks = payloads_of(compressed).blocks
    dask.compute(blocks, compressed)
    assert codecs.calls["analyse"] == codecs.calls["pack"] == blocks.size == 18


def test_payloads_as_delayed_beside_pixels_encode_each_tile_once(codecs):
    compressed = compress_cube(fakes.cube(), "fake-rgb")
    blocks = payloads_of(compressed).blocks
    writes = [dask.delayed(len)(block) for block in blocks.to_delayed().ravel()]
    dask.compute(writes, compressed, (compressed * 2).mean())
    assert codecs.calls["pack"] == 18


def test_payloads_alone_decode_nothing(codecs):
    payloads_of(compress_cube(fakes.cube(), "fake-rgb")).blocks.compute()
    assert codecs.calls["synthesise"] == codecs.calls["unpack"] == 0


def test_compressing_one_cube_twice_is_one_computation(codecs):
    cube = fakes.cube()
    dask.compute(compress_cube(cube, "fake-rgb"), compress_cube(cube, "fake-rgb"))
    assert codecs.calls["pack"] == 18


def test_the_model_is_loaded_once_a_process(codecs):
    with dask.config.set(scheduler="threads", num_workers=4):
        compress_cube(fakes.cube(), "fake-rgb").compute()
    assert codecs.loads == {"fake-rgb": 1}


def test_the_graph_carries_a_spec_and_no_weights(codecs):
    cube = fakes.cube(16 * 6, 16 * 6, dates=1)
    before = len(cloudpickle.dumps(cube.__dask_graph__()))
    graph = compress_cube(cube, "fake-rgb").__dask_graph__()
    assert len(cloudpickle.dumps(graph)) - before < 36 * 2_000


def test_auto_takes_the_codec_made_for_the_bands(codecs):
    assert compress_cube(fakes.cube(), "auto").attrs["nc:codec"] == "fake-rgb"


@pytest.mark.parametrize(
    ("change", "arguments", "error", "says"),
    [
        ({}, {"codec": "nothing"}, errors.CodecNotFoundError, "fake-rgb"),
        ({"bands": ("B02", "B04", "B03")}, {}, errors.BandMismatchError, "another order"),
        ({"bands": ("B02", "B03", "B99")}, {}, errors.BandMismatchError, "B99.*lacks: B04"),
        ({}, {"quality": 9}, errors.InvalidParameterError, "from 1 to 8"),
        ({}, {"quality": "high"}, errors.InvalidParameterError, "number"),
        ({"dtype": "complex64"}, {}, errors.DataTypeUnsupportedError, "complex64"),
        ({"height": 0}, {}, errors.NoDataAvailableError, "y"),
        ({"dates": 0}, {}, errors.NoDataAvailableError, "t"),
    ],
)
def test_bad_input_is_refused_when_the_graph_is_built(codecs, change, arguments, error, says):
    with pytest.raises(error, match=says):
        compress_cube(fakes.cube(**change), **({"codec": "fake-rgb"} | arguments))


def test_a_cube_without_crs_or_x_is_refused(codecs):
    with pytest.raises(errors.CRSMissingError):
        compress_cube(fakes.cube().drop_vars("spatial_ref"), "fake-rgb")
    with pytest.raises(errors.DimensionMissingError):
        compress_cube(fakes.cube().isel(x=0), "fake-rgb")
    with pytest.raises(errors.DimensionMissingError):
        compress_cube(fakes.cube().expand_dims("level"), "fake-rgb")


def test_infinite_values_are_refused_when_computed(codecs):
    cube = fakes.cube(dtype="float32")
    with pytest.raises(errors.InvalidValuesError):
        compress_cube(cube.where(cube < 9000, np.inf), "fake-rgb").compute()
