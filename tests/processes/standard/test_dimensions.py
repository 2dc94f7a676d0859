"""Dimensions reduced, replaced and relabelled; bands chosen."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from openeo_nc import errors
from openeo_nc.processes.standard import dimensions


@pytest.fixture
def cube():
    """`(t, bands, y)` with common names and wavelengths of its bands."""
    values = da.from_array(np.arange(24.0).reshape(2, 4, 3), chunks=(1, 2, 3))
    return xr.DataArray(
        values,
        dims=("t", "bands", "y"),
        coords={
            "t": np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"),
            "bands": ["B02", "B04", "B08", "B8A"],
            "common_name": ("bands", ["blue", "red", "nir", "nir"]),
            "center_wavelength": ("bands", [0.49, 0.66, 0.83, None]),
            "spatial_ref": 0,
        },
        attrs={"a": 1},
    )


def test_bands_are_chosen_in_the_order_given(cube):
    def chosen(**criteria):
        return dimensions.filter_bands(cube, **criteria)["bands"].values.tolist()

    assert chosen(bands=["B08", "B02"]) == ["B08", "B02"]
    assert chosen(bands=["nir", "B02", "B08"]) == ["B08", "B8A", "B02"]
    assert chosen(wavelengths=[[0.6, 0.9], [0.4, 0.5]]) == ["B04", "B08", "B02"]
    assert chosen(bands=["foo"]) == []
    with pytest.raises(errors.BandFilterParameterMissingError):
        chosen()
    with pytest.raises(errors.DimensionMissingError):
        dimensions.filter_bands(cube.isel(bands=0, drop=True), ["B02"])


def test_a_reducer_drops_its_dimension_and_nothing_else(cube):
    def reducer(data, axis, dim_labels, **_):
        assert dim_labels.tolist() == ["B02", "B04", "B08", "B8A"]
        return data.max(axis=axis)

    result = dimensions.reduce_dimension(cube, reducer, "bands")
    np.testing.assert_array_equal(result.values, cube.values.max(axis=1))
    assert set(result.coords) == {"t", "spatial_ref"}
    assert result.attrs == {"a": 1}
    single = dimensions.reduce_dimension(cube, lambda *_, **__: None, "bands")
    assert isinstance(single.data, da.Array)
    assert np.isnan(single.values).all()
    with pytest.raises(errors.InvalidParameterError, match=r"gave shape \(2, 4, 3\)"):
        dimensions.reduce_dimension(cube, lambda data, **_: data, "bands")
    with pytest.raises(errors.DimensionNotAvailableError, match="'z'; the cube has t, bands, y"):
        dimensions.reduce_dimension(cube, reducer, "z")


def test_a_dimension_keeps_its_labels_if_their_number_stays(cube):
    same = dimensions.apply_dimension(cube, lambda data, **_: data * 2, "bands")
    xr.testing.assert_equal(same, cube * 2)
    fewer = dimensions.apply_dimension(cube, lambda data, **_: data[:, :2], "bands")
    assert fewer["bands"].values.tolist() == [0, 1]
    assert "common_name" not in fewer.coords
    one = dimensions.apply_dimension(cube, lambda data, axis, **_: data.sum(axis=axis), "bands")
    np.testing.assert_array_equal(one.values, cube.values.sum(axis=1, keepdims=True))


def test_a_list_of_arrays_or_values_lies_along_the_dimension(cube):
    stats = dimensions.apply_dimension(
        cube, lambda data, axis, **_: [data.min(axis=axis), data.max(axis=axis)], "t", "stats"
    )
    assert stats.dims == ("stats", "bands", "y")
    np.testing.assert_array_equal(stats.values, cube.values)  # the later time is the greater
    weights = dimensions.apply_dimension(cube, lambda *_, **__: [0.25, 0.75], "t")
    assert isinstance(weights.data, da.Array)
    np.testing.assert_array_equal(weights.values[1], np.full((4, 3), 0.75))


def test_a_target_dimension_of_one_label_is_replaced_and_others_are_refused(cube):
    flat = cube.isel(t=[0])
    result = dimensions.apply_dimension(flat, lambda data, **_: data, "bands", "t")
    assert result.dims == ("t", "y")
    with pytest.raises(errors.DimensionExistsError, match="has 2 labels"):
        dimensions.apply_dimension(cube, lambda data, **_: data, "bands", "t")


def test_labels_are_renamed_by_name_or_by_position(cube):
    def renamed(data, **arguments):
        return dimensions.rename_labels(data, "bands", **arguments)["bands"].values.tolist()

    assert renamed(cube, source=["B08", "B02"], target=["N", "B"]) == ["B", "B04", "N", "B8A"]
    swapped = renamed(cube, source=["B02", "B04"], target=["B04", "B02"])
    assert swapped == ["B04", "B02", "B08", "B8A"]
    counted = cube.assign_coords(bands=np.arange(4))
    assert renamed(counted, target=["a"]) == ["a", 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"target": ["a"]}, errors.LabelsNotEnumeratedError),
        ({"target": ["a"], "source": ["B02", "B04"]}, errors.LabelMismatchError),
        ({"target": ["a"], "source": ["foo"]}, errors.LabelNotAvailableError),
        ({"target": ["B04"], "source": ["B02"]}, errors.LabelExistsError),
    ],
)
def test_labels_that_cannot_be_renamed_are_typed_errors(cube, arguments, error):
    with pytest.raises(error):
        dimensions.rename_labels(cube, "bands", **arguments)
