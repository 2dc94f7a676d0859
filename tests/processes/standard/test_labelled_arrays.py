"""Arrays with labels: kept, looked up and refused where openEO says so."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.processes.standard import arrays, search, sequences
from openeo_nc.processes.standard._labels import labels_of


@pytest.fixture
def bands():
    return arrays.array_create_labeled([1, None, "x"], ["B01", 2, "B03"])


def content(array):
    return dict(zip(labels_of(array), array.values.tolist(), strict=True))


def test_values_and_labels_keep_their_types(bands):
    assert content(bands) == {"B01": 1, 2: None, "B03": "x"}
    assert arrays.array_labels(bands) == ["B01", 2, "B03"]
    assert arrays.array_labels([7, 8]) == [0, 1]


def test_elements_are_found_by_labels_strict_about_types(bands):
    assert arrays.array_element(bands, label=2) is None
    assert arrays.array_element(bands, label="B03") == "x"
    assert search.array_find_label(bands, "2") is None
    with pytest.raises(errors.ArrayElementNotAvailableError, match="'2'"):
        arrays.array_element(bands, label="2")
    with pytest.raises(errors.ArrayNotLabeledError):
        arrays.array_element([1, 2], label="B01")


def test_labels_stay_through_other_processes(bands):
    assert content(sequences.rearrange(bands, [2, 0])) == {"B03": "x", "B01": 1}
    assert content(arrays.array_append(bands, 9, "B04"))["B04"] == 9
    assert content(arrays.array_modify(bands, [], 0, 2)) == {"B03": "x"}
    more = arrays.array_create_labeled([5], ["B05"])
    assert list(content(arrays.array_concat(bands, more))) == ["B01", 2, "B03", "B05"]
    assert arrays.array_concat(bands, [5]) == [1, None, "x", 5]


def test_labels_that_conflict_or_miss_are_typed_errors(bands):
    with pytest.raises(errors.LabelExistsError, match="'B01'"):
        arrays.array_append(bands, 1, "B01")
    with pytest.raises(errors.ArrayNotLabeledError):
        arrays.array_append([1], 1, "B01")
    with pytest.raises(errors.ArrayLabelConflictError, match="B01"):
        arrays.array_concat(bands, bands)
    with pytest.raises(errors.ArrayLengthMismatchError, match="1 values and 2 labels"):
        arrays.array_create_labeled([1], [1, 2])


def test_callbacks_of_elements_see_index_label_and_context(bands):
    seen = []

    def process(x, positional_parameters, named_parameters):
        seen.append((x, *named_parameters.values()))
        return named_parameters["index"] > 0

    assert content(search.array_filter(bands, process, "c")) == {2: None, "B03": "x"}
    assert content(search.array_apply(bands, process, "c")) == {"B01": False, 2: True, "B03": True}
    assert seen[:3] == [(1, 0, "B01", "c"), (None, 1, 2, "c"), ("x", 2, "B03", "c")]


def test_labels_that_are_times_are_found_by_text():
    times = np.array(["2020-06-01", "2020-06-03T10:00"], "datetime64[ns]")
    pixels = np.arange(12.0).reshape(2, 6)
    for label in ("2020-06-03T10:00:00Z", "2020-06-03T12:00:00+02:00"):
        found = arrays.array_element(pixels, label=label, axis=0, dim_labels=times)
        np.testing.assert_array_equal(found, pixels[1])
    assert arrays.array_labels(pixels, axis=0, dim_labels=times)[1] == "2020-06-03T10:00:00Z"


def test_gaps_are_filled_by_labels_that_are_numbers():
    data = arrays.array_create_labeled([1.0, None, 4.0], [1, 3, 4])
    assert content(sequences.array_interpolate_linear(data)) == {1: 1.0, 3: 3.0, 4: 4.0}
    named = arrays.array_create_labeled([1.0, None, 4.0], ["a", "b", "c"])
    assert content(sequences.array_interpolate_linear(named))["b"] == 2.5
