"""A record counts for exactly the array it was made with, and survives copies as it should."""

from __future__ import annotations

import copy
import json
import pickle

import fakes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.payloads import ATTRIBUTE, origin_of, payloads_of


@pytest.fixture
def compressed(codecs):
    return compress_cube(fakes.cube(), "fake-rgb")


@pytest.mark.parametrize(
    "unchanged",
    [
        lambda c: c,
        lambda c: c.assign_attrs(note="x"),
        lambda c: c.copy(),
        lambda c: c.rename("other"),
        lambda c: c.assign_coords(orbit=1),
        lambda c: pickle.loads(pickle.dumps(c)),
        lambda c: copy.deepcopy(c),
    ],
)
def test_counts_while_the_array_is_the_same(compressed, unchanged):
    assert payloads_of(unchanged(compressed)) is not None


@pytest.mark.parametrize(
    "changed",
    [
        lambda c: c * 2,
        lambda c: c + 0,
        lambda c: c.isel(t=[0]),
        lambda c: c.where(c > 5),
        lambda c: c.isel(x=slice(1, None)),
        lambda c: c.compute(),
        lambda c: c.transpose("bands", "t", "y", "x"),
        lambda c: c.astype("float32"),
        lambda c: (c * 2).assign_attrs(c.attrs),
        lambda c: xr.concat([c, c], "t"),
    ],
)
def test_does_not_count_for_another_array(compressed, changed):
    assert payloads_of(changed(compressed)) is None


def test_the_origin_stays_known_after_arithmetic(compressed):
    doubled = (compressed * 2).assign_attrs(compressed.attrs)
    assert origin_of(doubled) is payloads_of(compressed)


def test_a_cube_that_was_never_coded_has_none():
    assert payloads_of(fakes.cube()) is None
    assert origin_of(fakes.cube()) is None


def test_a_record_read_back_from_text_is_none(compressed):
    text = json.loads(json.dumps(compressed.attrs[ATTRIBUTE]))
    assert payloads_of(compressed.assign_attrs({ATTRIBUTE: text})) is None


def test_attributes_can_be_written_to_netcdf(compressed, tmp_path):
    compressed.isel(t=[0]).to_netcdf(tmp_path / "cube.nc", engine="netcdf4")
    with xr.open_dataarray(tmp_path / "cube.nc", engine="netcdf4", decode_coords="all") as read:
        assert isinstance(read.attrs[ATTRIBUTE], str)


def test_record_is_true_to_the_cube(compressed):
    payloads = payloads_of(compressed)
    assert payloads.blocks.shape == (2, 3, 3)
    assert payloads.blocks.numblocks == (2, 3, 3)
    assert payloads.bands == fakes.RGB
    assert payloads.kind == "pixels"
    assert payloads.scale_factor == 1.0
    assert payloads.dtype == np.uint16
    assert (payloads.window.ni, payloads.window.nj) == (3, 3)
    assert repr(payloads) == "<Payloads fake-rgb quality 8.0, pixels 2x3x3 tiles>"
