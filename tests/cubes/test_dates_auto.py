"""compress_cube(dates=...) with `auto` on Sentinel-2's twelve bands: the learned codec joins dates."""

from __future__ import annotations

from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine

from openeo_nc.codecs import payloads as coded
from openeo_nc.codecs import registry
from openeo_nc.codecs.group_memo import memo
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.inspect import inspect_store
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.store import write_store
from openeo_nc.sentinel2 import BANDS

TIMES = ("2020-01-18", "2020-01-13", "2020-06-21")
SIDE = 48
LEARNED = "s2l2a-restoration"
BOUNDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50]


def series(dtype="int16"):
    """`(t, bands, y, x)` of one scene, digital numbers with -1, or reflectances with NaN."""
    rng = np.random.default_rng(0)
    ground = rng.normal(size=(12, SIDE, SIDE)).cumsum(1).cumsum(2)
    ground = 3000 + 500 * ground / ground.std() + rng.normal(0, 150, ground.shape)
    dates = [ground * (0.8 + 0.1 * t) + rng.normal(0, 10, ground.shape) for t in range(len(TIMES))]
    values = np.stack(dates).clip(1, 9999).astype(np.int16)
    values[1, :, :20, :30] = -1
    attrs = {"_FillValue": -1}
    if dtype == "float32":
        values, attrs = np.where(values < 0, np.nan, values / 1e4).astype(np.float32), {}
    cube = xr.DataArray(
        da.from_array(values, chunks=(1, 12, SIDE, SIDE)),
        dims=("t", "bands", "y", "x"),
        coords={
            "t": pd.DatetimeIndex(TIMES),
            "bands": list(BANDS),
            "y": 5_000_640 - 10 * (np.arange(SIDE) + 0.5),
            "x": 600_000 + 10 * (np.arange(SIDE) + 0.5),
        },
        attrs=attrs,
    )
    return cube.rio.write_crs("EPSG:32631").rio.write_transform(
        Affine(10, 0, 600_000, 0, -10, 5_000_640)
    )


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 48 pixels, so that tests are quick."""
    cards = {card.codec_id: replace(card, tile=SIDE) for card in registry.list_codecs()}
    monkeypatch.setattr(registry, "_cards", lambda: cards)
    memo.clear()
    with dask.config.set(scheduler="synchronous"):
        yield


def in_store(compressed, path):
    """Pixels that plain xarray reads of a store, one date at a time."""
    write_store(compressed, path)
    opened = xr.open_zarr(path, mask_and_scale=False)["data"]
    top, _, left, _ = opened.attrs["nc:window"]
    part = opened[:, :, top : top + SIDE, left : left + SIDE]
    alone = []
    for t in range(len(TIMES)):
        memo.clear()  # nobody decoded the group before
        alone.append(part[t].values)
    return np.stack(alone)


def forms(compressed):
    """Of each date: codec, dates of its payload, which one it is, whether bounded."""
    cells = payloads_of(compressed).blocks.compute()[:, 0, 0]
    known = [coded.describe(cell) for cell in cells]
    return [(form["codec"], form["dates"], form["date"], form["bounded"]) for form in known]


def test_dates_of_a_window_share_the_learned_codec_s_payload(tmp_path):
    cube = series()
    compressed = compress_cube(cube, quality=6.5, dates=32)
    assert compressed.attrs["nc:codec"] == LEARNED
    assert forms(compressed) == [
        (LEARNED, 2, 1, False), (LEARNED, 2, 0, False), (LEARNED, 1, 0, False)
    ]  # fmt: skip
    pixels = in_store(compressed, tmp_path / "s.zarr")
    np.testing.assert_array_equal(pixels, compressed.values)
    np.testing.assert_array_equal(pixels == -1, cube.values == -1)


def test_a_group_decodes_without_the_store_and_date_by_date():
    cells = payloads_of(compress_cube(series(), quality=6.5, dates=32)).blocks.compute()[:, 0, 0]
    codec = registry.open_codec(LEARNED)
    dates = np.split(codec.decode(coded.split(cells[0])[1]), 2)
    for t, date in ((0, 1), (1, 0)):
        memo.clear()
        np.testing.assert_array_equal(coded.decode(cells[t], codec, None), dates[date])


def test_every_band_of_every_date_of_a_group_keeps_its_bound(tmp_path):
    cube = series()
    compressed = compress_cube(cube, max_error=BOUNDS, dates=32)
    assert forms(compressed)[:2] == [(LEARNED, 2, 1, True), (LEARNED, 2, 0, True)]
    pixels = in_store(compressed, tmp_path / "s.zarr").astype(int)
    original = cube.values
    np.testing.assert_array_equal(pixels == -1, original == -1)
    worst = np.abs(pixels - original).max(axis=(0, 2, 3))
    assert (worst <= BOUNDS).all()
    assert worst[-1] > BOUNDS[-2]  # each band has its own
    assert inspect_store(tmp_path / "s.zarr").bound_held


def test_reflectances_keep_a_bound_with_dates(tmp_path):
    cube = series("float32")
    compressed = compress_cube(cube, max_error=0.002, scale=1.0, dates=32)
    assert {form[1] for form in forms(compressed)} == {1, 2}
    pixels = in_store(compressed, tmp_path / "s.zarr")
    original = cube.values
    np.testing.assert_array_equal(np.isnan(pixels), np.isnan(original))
    assert np.nanmax(np.abs(pixels.astype(np.float64) - original)) <= 0.002
    assert inspect_store(tmp_path / "s.zarr").bound_held
