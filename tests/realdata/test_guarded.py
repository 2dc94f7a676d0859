"""compress_cube with the shipped guard: of a real tile and a spoilt one, the spoilt keeps the bound."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from openeo_nc.benchmarks.tiles import from_split
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.cubes.store import write_store
from openeo_nc.sentinel2 import BANDS

pytestmark = pytest.mark.realdata
BOUND = 100.0


@pytest.fixture(scope="module")
def cube(shared_data):
    """A tile of a place left out of training, and on a second date the same with dead pixels."""
    pixels = from_split(shared_data, "s2l2a")[4].pixels[:, :128, :128].astype(np.int16)
    spoilt = np.where(np.random.default_rng(0).random(pixels.shape) < 0.1, 10_000, pixels)
    values = np.stack([pixels, spoilt]).astype(np.int16)
    frame = fakes.cube(*pixels.shape[1:], bands=BANDS, x0=602_880.0, y0=4_999_680.0, dtype="int16")
    return frame.copy(data=values).chunk({"t": 1})


@pytest.mark.parametrize("codec", ["klt-dct", "s2l2a-hyperprior", "s2l2a-restoration"])
def test_the_spoilt_tile_is_flagged_and_keeps_the_bound(cube, codec, tmp_path):
    compressed = compress_cube(cube, codec, 4, max_error=BOUND, guard="bounded")
    report = write_store(compressed, tmp_path / "s.zarr")
    assert report.shifts["flagged_tiles"] == [[1, 0, 0]]
    assert report.bound_held
    error = np.abs(compressed.values.astype(float) - cube.values).max(axis=(1, 2, 3))
    assert error[1] <= BOUND < error[0]
    assert len(report.forms) == 2


def test_reflectances_in_their_own_numbers_are_judged_alike(cube, tmp_path):
    reflectance = (cube * np.float32(1e-4)).assign_attrs({SCALE: 1.0})
    compressed = compress_cube(reflectance, "klt-dct", 4, max_error=BOUND / 1e4, guard="bounded")
    report = write_store(compressed, tmp_path / "s.zarr", measure=False)
    assert report.shifts["flagged_tiles"] == [[1, 0, 0]]
