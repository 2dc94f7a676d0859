"""compress_cube as a process: what graphs may ask, and what they are told when they may not."""

from __future__ import annotations

import json

import fakes
import numpy as np
import pytest

from openeo_nc import errors, processes
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.graphs.arguments import check


@pytest.fixture
def compress_cube(codecs):
    (found,) = (one for one in processes.implementations() if one.process_id == "compress_cube")
    return found


@pytest.mark.parametrize(
    ("arguments", "document"),
    [
        ({}, {"quality": 8.0}),
        ({"codec": "fake-any", "quality": 3}, {"quality": 3.0}),
        ({"target_psnr": 60}, {"target_psnr": 60.0}),
        ({"target_ratio": 2.5}, {"target_ratio": 2.5}),
        ({"max_error": 10}, {"max_error": 10.0}),
        ({"max_error": [10, 20, 0.5]}, {"max_error": [10.0, 20.0, 0.5]}),
        ({"max_error": 10, "options": {"guard": "off"}}, {"max_error": 10.0}),
        ({"quality": None, "max_error": 0, "options": None}, {"max_error": 0.0}),
    ],
)
def test_arguments_of_graphs_are_what_is_asked(compress_cube, arguments, document):
    given = {"data": {"from_node": "load"}, **arguments}
    assert list(check(compress_cube.spec, given)) == []
    found = compress_cube.function(data=fakes.cube(), **arguments)
    assert json.loads(found.attrs["nc:rate"]) == document
    assert payloads_of(found).coding.asked.document() == document
    assert ("nc:quality" in found.attrs) == ("quality" in document)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_error": -1},
        {"max_error": "10"},
        {"max_error": [1, "2", 3]},
        {"max_error": [1, -2, 3]},
        {"max_error": []},
        {"target_psnr": 0},
        {"target_ratio": -2},
        {"options": {"guard": "always"}},
        {"options": {"guards": "off"}},
    ],
)
def test_what_a_schema_can_tell_is_told_before_anything_is_loaded(compress_cube, arguments):
    given = {"data": {"from_node": "load"}, **arguments}
    (fault,) = check(compress_cube.spec, given)
    assert fault.code == "ProcessParameterInvalid"
    with pytest.raises(errors.InvalidParameterError):
        compress_cube.function(data=fakes.cube(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"quality": 5, "max_error": 10}, "quality and max_error"),
        ({"target_psnr": 50, "target_ratio": 10}, "target_psnr and target_ratio"),
        ({"max_error": [1, 2]}, "3 bands B02, B03, B04; given a list of 2"),
        ({"max_error": 3, "options": {"guard": "bounded"}}, "no guard"),
        ({"options": {"guard": "bounded"}}, "needs max_error"),
    ],
)
def test_what_only_the_cube_can_tell_is_told_when_the_graph_is_built(
    compress_cube, arguments, says
):
    with pytest.raises(errors.InvalidParameterError, match=says):
        compress_cube.function(data=fakes.cube(), **arguments)


def test_a_bound_is_in_the_numbers_of_the_cube(compress_cube):
    cube = (fakes.cube() * np.float32(1e-4)).astype("float32").assign_attrs({"nc:scale": 1.0})
    cube = cube.isel(t=[0], x=slice(0, 16), y=slice(0, 16))
    found = compress_cube.function(data=cube, codec="fake-rgb", max_error=[0.05, 0.002, 0.0005])
    error = np.abs(found.values.astype(float) - cube.values).max(axis=(0, 2, 3))
    assert (error <= [0.05, 0.002, 0.0005]).all()
