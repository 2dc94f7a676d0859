"""embed_cube: georeferenced vectors that depend on the ground, not on how a cube is cut."""

from __future__ import annotations

import json

import dask
import fake_models
import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.models.layout import Layout
from openeo_nc.models.registry import get_model_card

TILE = 384
X0, Y0 = 3840.0 * 150, 3840.0 * 1300
"""Corner of a tile of 384 pixels of 10 m."""


@pytest.fixture
def models():
    with fake_models.models_installed() as module, dask.config.set(scheduler="synchronous"):
        yield module


def embed(cube, model, **keywords):
    return embed_cube(cube, get_model_card(model), quantization="float32", **keywords)


def test_building_computes_nothing(models):
    with dask.config.set(scheduler=fakes.raising_scheduler):
        embed(fakes.cube(), "fake-chips")
    assert not models.calls


@pytest.mark.parametrize("model", ["fake-patches", "fake-chips", "fake-pooled", "fake-dates"])
def test_patches_are_where_their_pixels_are(models, model):
    """The first values are means of the patch's pixels, found by coordinates."""
    cube = fakes.cube(100, 90, x0=X0 + 370, y0=Y0 - 650)
    card = get_model_card(model)
    found = embed(cube, model)
    assert found.dims == ("t", "embedding", "y", "x")
    assert found.dtype == np.float32
    assert found.rio.crs.to_epsg() == 32631
    assert found.rio.resolution() == (card.stride * 10, -card.stride * 10)
    assert found.sizes["t"] == 2 // card.dates
    if card.pooling != "none":
        reach = card.chip * 5
    else:
        reach = card.stride * 5
    patch = found.dropna("y", how="all").dropna("x", how="all")
    for y, x in [(3, 4), (1, 1)]:
        at = patch.isel(t=0, y=y, x=x)
        ours = cube.isel(t=0).sel(
            y=slice(float(at.y) + reach, float(at.y) - reach),
            x=slice(float(at.x) - reach, float(at.x) + reach),
        )
        expected = ours.mean(("y", "x")).values
        np.testing.assert_allclose(at.values[:3], expected, rtol=1e-5)


def test_margins_come_from_neighbouring_tiles(models):
    """A patch at a tile's corner sees three other tiles."""
    cube = fakes.cube(120, 120, x0=X0 - 600, y0=Y0 + 600, dates=1)
    found = embed(cube, "fake-patches")
    at = found.sel(x=X0 + 40, y=Y0 - 40)
    around = cube.values[0, 0, 60 - 16 : 68 + 16, 60 - 16 : 68 + 16]
    np.testing.assert_allclose(float(at[0, 3]), around.mean(), rtol=1e-5)


@pytest.mark.parametrize("model", ["fake-patches", "fake-chips", "fake-pooled", "fake-unit"])
def test_vectors_do_not_depend_on_chunks(models, model):
    cubes = [
        fakes.cube(100, 90, x0=X0 - 300, y0=Y0 + 400, dates=1, chunks=chunks)
        for chunks in [(1, 3, 17, 19), (1, 1, 100, 90)]
    ]
    first, second = [embed(cube, model).compute() for cube in cubes]
    assert np.isfinite(first.values).any()
    np.testing.assert_array_equal(second.values, first.values)


def test_vectors_do_not_depend_on_the_request(models):
    """Patches whose margins are inside both requests have the same vectors in both."""
    wide = fakes.cube(480, 500, x0=X0 - 1000, y0=Y0 + 1200, dates=1)
    narrow = wide.isel(y=slice(33, 400), x=slice(21, 300))
    a, b = embed(wide, "fake-patches").compute(), embed(narrow, "fake-patches").compute()
    inner = b.sel(
        y=slice(float(narrow.y[0]) - 200, float(narrow.y[-1]) + 200),
        x=slice(float(narrow.x[0]) + 200, float(narrow.x[-1]) - 200),
    )
    same = a.sel(y=inner.y, x=inner.x)
    assert inner.size > 1000
    np.testing.assert_allclose(inner.values, same.values, rtol=1e-6)


def test_overlapping_chips_are_blended(models):
    """The last value is each chip's mean: a patch has the weighted mean of those that hold it."""
    cube = fakes.cube(200, 200, x0=X0, y0=Y0, dates=1)
    card = get_model_card("fake-chips")
    layout = Layout.of(card)
    assert (layout.step, layout.tile) == (16, 384)
    found = embed(cube, "fake-chips").values[0, 3]
    pixels = np.pad(cube.values[0, 0].astype(float), 16, constant_values=np.nan)
    total, weight = np.zeros((50, 50)), np.zeros((50, 50))
    for top in range(-8, 200, 16):
        for left in range(-8, 200, 16):
            chip = pixels[top + 16 : top + 48, left + 16 : left + 48]
            if np.isnan(chip).all():
                continue
            for row in range(8):
                for column in range(8):
                    y, x = top // 4 + row, left // 4 + column
                    if 0 <= y < 50 and 0 <= x < 50:
                        share = min(row + 0.5, 7.5 - row) * min(column + 0.5, 7.5 - column)
                        total[y, x] += share * np.nanmean(chip)
                        weight[y, x] += share
    np.testing.assert_allclose(found[:50, :50], total / weight, rtol=1e-5)


def test_weights_of_neighbours_add_up_to_one():
    with fake_models.models_installed():
        layout = Layout.of(get_model_card("fake-chips"))
    ones = np.ones((layout.count**2, 1, layout.given, layout.given), np.float32)
    around = {(row, column): ones for row in (-1, 0, 1) for column in (-1, 0, 1)}
    np.testing.assert_allclose(layout.blend(around), 1.0)


def test_unit_vectors_stay_unit_vectors_where_they_are_blended(models):
    vectors = embed(fakes.cube(64, 64, x0=X0, y0=Y0), "fake-unit").values[:, :, :16, :16]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


def test_patches_without_a_valid_pixel_are_no_data(models):
    cube = fakes.cube(64, 64, x0=X0, y0=Y0, dtype="float32")
    cube = cube.where((cube.x > X0 + 160) | (cube.y < Y0 - 330))
    for model in ("fake-patches", "fake-chips", "fake-pooled"):
        found = embed(cube, model)
        gone = np.isnan(found.values)
        assert (gone.any(axis=1) == gone.all(axis=1)).all()
        stride = get_model_card(model).stride
        columns, rows = 64 // stride, 64 // stride
        expected = np.array([[x * stride < 16 and (y + 1) * stride <= 33 for x in range(columns)]
                             for y in range(rows)])  # fmt: skip
        if model != "fake-pooled":
            np.testing.assert_array_equal(gone[0, 0, :rows, :columns], expected)
        assert gone[0, 0, rows:, :].all()


def test_values_lie_on_the_quantisers_lattice(models):
    found = embed_cube(fakes.cube(), get_model_card("fake-patches"))
    vectors = found.values.transpose(0, 2, 3, 1)
    vectors = vectors[~np.isnan(vectors).any(axis=-1)]
    steps = np.abs(vectors).max(axis=1, keepdims=True) / 127
    np.testing.assert_allclose(vectors / steps, np.rint(vectors / steps), atol=1e-3)
    assert json.loads(found.attrs["nc:quantization"])


def test_several_dates_are_one_vector(models):
    cube = fakes.cube(32, 32, x0=X0, y0=Y0, dates=4)
    found = embed(cube, "fake-dates")
    assert found.sizes["t"] == 2
    assert (found.t.values == cube.t.values[::2]).all()
    patch = cube.values[2:4, :, 8:16, 16:24].mean(axis=(2, 3)).reshape(-1)
    np.testing.assert_allclose(found.values[1, :6, 1, 2], patch, rtol=1e-5)
    with pytest.raises(errors.InvalidParameterError, match="2 dates"):
        embed(cube.isel(t=slice(3)), "fake-dates")


def test_networks_are_told_when_and_where(models):
    embed(fakes.cube(32, 32, x0=X0, y0=Y0, dates=2), "fake-dates").compute()
    ((times, places),) = models.seen
    assert times == [(np.datetime64("2022-06-01"), np.datetime64("2022-06-06"))]
    (longitude, latitude) = places[0]
    from rasterio.warp import transform

    middle = transform("EPSG:32631", "EPSG:4326", [X0 + 1920], [Y0 - 1920])
    assert (longitude, latitude) == pytest.approx((middle[0][0], middle[1][0]))


def test_bands_are_found_by_name_and_some_may_lack(models):
    bands = ("B8A", "B04", "B02", "B03")
    cube = fakes.cube(32, 32, bands=bands, x0=X0, y0=Y0)
    ordered = cube.isel(bands=[2, 3, 1])
    a, b = embed(cube, "fake-patches"), embed(ordered, "fake-patches")
    np.testing.assert_array_equal(a.values, b.values)
    lacking = embed(cube.isel(bands=[2, 3]), "fake-patches")
    np.testing.assert_array_equal(lacking.values[:, :2], a.values[:, :2])
    assert lacking.attrs["nc:bands"] == ["B02", "B03"]
    with pytest.raises(errors.BandMismatchError, match="B02"):
        embed(cube.isel(bands=[0, 1, 3]), "fake-patches")


def test_numbers_are_put_into_the_models_units(models):
    cube = fakes.cube(32, 32, x0=X0, y0=Y0)
    expected = embed(cube, "fake-patches").values
    reflectance = (cube / 10000).assign_attrs({"nc:scale": 1.0}).rio.write_crs("EPSG:32631")
    np.testing.assert_allclose(embed(reflectance, "fake-patches").values, expected, rtol=1e-5)
    given = embed(cube * 2, "fake-patches", scale=0.00005)
    np.testing.assert_allclose(given.values, expected, rtol=1e-5)


def test_other_pixel_sizes_are_refused_unless_asked_for(models):
    cube = fakes.cube(32, 32, res=60.0)
    with pytest.raises(errors.GridMismatchError, match="60 m"):
        embed(cube, "fake-patches")
    assert embed(cube, "fake-patches", any_resolution=True).rio.resolution() == (480, -480)


def test_infinite_values_are_refused(models):
    cube = fakes.cube(16, 16, dtype="float32")
    with pytest.raises(errors.InvalidValuesError, match="Tile"):
        embed(cube.where(cube < 9000, np.inf), "fake-patches").compute()


def test_metadata_say_what_it_is(models):
    attrs = embed_cube(fakes.cube(), get_model_card("fake-patches")).attrs
    assert attrs["emb:type"] == "chip"
    assert attrs["emb:dimensions"] == 4
    assert json.loads(attrs["nc:model"]) == {
        "id": "fake-patches", "version": "1", "weights_sha256": None
    }  # fmt: skip
    assert attrs["nc:stride"] == 8


def test_a_model_is_opened_once_and_called_by_tile(models):
    embed(fakes.cube(40, 36, x0=X0 - 200, y0=Y0), "fake-patches").compute()
    assert models.calls["load"] == 1
    assert models.calls["chips"] == 4  # two tiles of two dates
