"""Errors along tile borders, on arrays whose errors are known by construction."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from openeo_nc.cubes.borders import border_decibel, border_error, border_mse
from openeo_nc.errors import InvalidParameterError


def by_hand(height, width, tile, first, border=8):
    """Pixel by pixel: is a border of the tiling within reach?"""
    flags = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            for place in ((y + first[0]) % tile, (x + first[1]) % tile):
                flags[y, x] |= place < border or tile - 1 - place < border
    return flags


def test_a_tile_by_itself():
    x = np.full((2, 40, 50), 1000.0)
    x_hat = x + 1
    x_hat[:, 8:-8, 8:-8] += 1
    assert border_mse(x, x_hat) == (1.0, 4.0)
    assert border_error(x, x_hat) == pytest.approx(10 * np.log10(1 / 4))
    assert border_error(x, x_hat, width=4) > border_error(x, x_hat)


def test_tiles_of_the_grid_that_a_cube_lies_on():
    cube = fakes.cube(100, 90, dtype="float32", dates=1).compute()
    tile = 40
    first = (-(5_000_000 // 10) % tile, (600_000 // 10) % tile)
    near = by_hand(100, 90, tile, first)
    x_hat = cube + np.where(near, 3.0, 1.0)
    border, inside = border_mse(cube, x_hat, tile=tile)
    assert float(border) == pytest.approx(9.0, rel=1e-3)
    assert float(inside) == pytest.approx(1.0, rel=1e-3)
    assert float(border_error(cube, x_hat, tile=tile)) == pytest.approx(9.542, abs=0.02)
    shifted = fakes.cube(100, 90, dtype="float32", dates=1, x0=600_130.0).compute()
    assert float(border_error(shifted, shifted + np.where(near, 3.0, 1.0), tile=tile)) < 9


def test_missing_data_are_left_out_and_nothing_has_no_value():
    x = np.full((1, 40, 40), 1000.0)
    x_hat = x + 2
    x_hat[:, :3] = 7e5
    x[:, :3] = np.nan
    assert border_error(x, x_hat) == pytest.approx(0.0)
    assert np.isnan(border_error(x, x))
    assert np.isnan(border_error(x[:, :12, :12], x_hat[:, :12, :12]))  # all of it is border
    x_hat[0, 20, 20] = np.nan
    assert np.isnan(border_error(x, x_hat))


def test_decibels_of_two_numbers():
    assert border_decibel(2.0, 1.0) == pytest.approx(3.0103, abs=1e-4)
    for pair in ((0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)):
        assert border_decibel(*pair) is None


def test_what_makes_no_sense_is_refused():
    x = np.ones((1, 20, 20))
    with pytest.raises(InvalidParameterError, match="width"):
        border_error(x, x, width=0)
    with pytest.raises(InvalidParameterError, match="one tile"):
        border_error(x, x, tile=10)
