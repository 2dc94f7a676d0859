"""Missing pixels: found, filled from the nearest, put back exactly."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.codecs import nodata
from openeo_nc.errors import InvalidValuesError


def test_nan_and_the_nodata_value_are_missing():
    x = np.array([[[1.0, np.nan, -9.0]]])
    np.testing.assert_array_equal(nodata.find(x, -9.0), [[[False, True, True]]])
    assert nodata.find(np.ones((1, 2, 2)), None) is None


def test_infinite_values_are_refused_unless_they_are_the_nodata_value():
    x = np.array([[[1.0, np.inf]]])
    with pytest.raises(InvalidValuesError, match="1 infinite"):
        nodata.find(x, None)
    np.testing.assert_array_equal(nodata.find(x, np.inf), [[[False, True]]])


def test_filling_takes_the_nearest_valid_pixel_and_touches_no_other():
    x = np.array([[[1.0, 2.0, 0.0, 0.0, 9.0]], [[0.0] * 5]])
    mask = np.array([[[False, False, True, True, False]], [[True] * 5]])
    np.testing.assert_array_equal(nodata.fill(x, mask)[0], [[1, 2, 2, 9, 9]])
    np.testing.assert_array_equal(nodata.fill(x, mask)[1], [[0] * 5])
    assert nodata.fill(x, None) is x


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 0), ("int16", 32767), ("float32", 0.0)])
def test_valid_pixels_never_become_the_nodata_value(dtype, value):
    values = np.array([[[float(value), 5.0]]])
    out = nodata.restore(values, np.dtype(dtype), np.array([[[False, True]]]), value)
    assert out[0, 0, 0] != value
    assert abs(float(out[0, 0, 0]) - value) <= 1
    assert out[0, 0, 1] == value


def test_integers_are_rounded_and_clipped():
    out = nodata.restore(np.array([[[-3.0, 2.5, 3.51, 300.0]]]), np.dtype("uint8"), None, None)
    assert out.tolist() == [[[0, 2, 4, 255]]]
