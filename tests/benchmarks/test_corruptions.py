"""Corruptions do what their names say, the same each time, and more of it at higher strengths."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.benchmarks.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from openeo_nc.errors import InvalidParameterError
from openeo_nc.sentinel2 import BANDS

KINDS = list(CORRUPTIONS)


@pytest.fixture(scope="module")
def scene():
    """`(12, 96, 104)` uint16: smooth fields under fine detail, alike in all bands."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :104]
    wave = 1500 + 600 * np.sin(x / 9) * np.cos(y / 11)
    detail = rng.normal(0, 120, (96, 104))
    gains = np.linspace(0.6, 1.4, 12)[:, None, None]
    return (gains * (wave + detail)).clip(1).astype(np.uint16)


def apart(a, b):
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_same_seed_same_tile(scene, kind, dtype):
    x = scene.astype(dtype)
    before = x.copy()
    once, again = (corrupt(x, kind, 2, seed=7) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(x, before)
    assert (once.shape, once.dtype) == (x.shape, x.dtype)
    assert np.isfinite(once).all()
    assert not np.array_equal(once, x)


@pytest.mark.parametrize("kind", KINDS)
def test_higher_strengths_change_more(scene, kind):
    changes = [
        np.mean([apart(corrupt(scene, kind, s, seed=i), scene) for i in range(4)])
        for s in STRENGTHS
    ]
    assert changes == sorted(changes)


def test_turned_tiles_in_memory_are_taken(scene):
    turned = np.rot90(scene, 1, axes=(1, 2))
    for kind in KINDS:
        expected = corrupt(np.ascontiguousarray(turned), kind, 1, seed=3)
        np.testing.assert_array_equal(corrupt(turned, kind, 1, seed=3), expected)


def test_noise_has_its_deviation(scene):
    noise = corrupt(scene.astype("f4"), "gaussian-noise", 2, seed=0) - scene
    assert noise.std() == pytest.approx(60, rel=0.02)
    assert abs(noise.mean()) < 1


def test_salt_and_pepper_takes_a_share_of_pixels(scene):
    changed = corrupt(scene, "salt-and-pepper", 3, seed=0)
    at = changed != scene
    assert at.mean() == pytest.approx(0.05, rel=0.1)
    assert set(np.unique(changed[at])) == {0, 10000}


@pytest.mark.parametrize("kind", ["blur", "motion-blur"])
def test_blurs_keep_the_mean_and_lose_detail(scene, kind):
    blurred = corrupt(scene.astype("f4"), kind, 3, seed=0)
    assert blurred.mean() == pytest.approx(scene.mean(), rel=0.01)
    assert np.diff(blurred, axis=2).std() < 0.6 * np.diff(scene.astype("f4"), axis=2).std()


def test_haze_is_blue(scene):
    added = (corrupt(scene, "haze", 2, seed=0).astype(float) - scene).mean(axis=(1, 2))
    flat = corrupt(np.full_like(scene, 500), "haze", 2, seed=0).mean(axis=(1, 2))
    assert (np.diff(flat) < 0).all()
    assert added[0] > added[-1]


def test_clouds_cover_and_cast_shadow(scene):
    x = scene.astype(float)
    changed = corrupt(x, "cloud", 2, seed=0)
    assert 0.15 < (changed[1] > x[1] + 1000).mean() < 0.6
    assert (changed[1] < 0.8 * x[1]).any()


def test_stripes_run_along_columns_at_each_bands_resolution(scene):
    x = np.full_like(scene, 2000).astype("f4")
    changed = corrupt(x, "stripes", 2, seed=0)
    np.testing.assert_array_equal(changed, np.repeat(changed[:, :1], x.shape[1], axis=1))
    for name, pixels in (("B02", 1), ("B11", 2), ("B01", 6)):
        row = changed[BANDS.index(name), 0]
        steps = np.flatnonzero(np.diff(row)) + 1
        assert set(steps) == set(range(pixels, len(row), pixels))


@pytest.mark.parametrize(("strength", "count"), [(1, 1), (2, 3), (3, 6)])
def test_missing_bands_are_zero_and_the_others_as_they_were(scene, strength, count):
    changed = corrupt(scene, "missing-bands", strength, seed=0)
    gone = ~changed.any(axis=(1, 2))
    assert gone.sum() == count
    np.testing.assert_array_equal(changed[~gone], scene[~gone])


def test_compression_steps_at_blocks(scene):
    smooth = np.broadcast_to(np.linspace(500, 3000, 104), scene.shape).astype("f4")
    rng = np.random.default_rng(0)
    steps = np.abs(
        np.diff(corrupt(smooth + rng.normal(0, 60, scene.shape), "compression", 3, seed=0), axis=2)
    ).mean(axis=(0, 1))
    at_blocks = np.arange(103) % 8 == 7
    assert steps[at_blocks].mean() > 1.4 * steps[~at_blocks].mean()


def test_brightness_and_scale_are_linear(scene):
    x = scene.astype("f4")
    np.testing.assert_allclose(corrupt(x, "brightness", 1, seed=0), 1.3 * x, rtol=1e-6)
    for strength, expected in ((1, x + 1000), (2, x * 0.0255), (3, x / 10000)):
        np.testing.assert_allclose(corrupt(x, "scale", strength, seed=0), expected, rtol=1e-6)


def test_registration_moves_all_bands_but_one(scene):
    x = scene.astype(float)
    changed = corrupt(x, "registration", 2, seed=0)
    kept = [np.array_equal(a, b) for a, b in zip(changed, x, strict=True)]
    assert [name for name, same in zip(BANDS, kept, strict=True) if same] == ["B03"]
    inner = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(
        changed[inner].mean(axis=(1, 2)), x[inner].mean(axis=(1, 2)), rtol=0.03
    )


@pytest.mark.parametrize(("kind", "strength"), [("fog", 1), ("haze", 0), ("haze", 4)])
def test_unknown_corruptions_are_refused(scene, kind, strength):
    with pytest.raises(InvalidParameterError, match="expected one of"):
        corrupt(scene, kind, strength, seed=0)


def test_other_bands_are_refused(scene):
    with pytest.raises(InvalidParameterError, match="bands"):
        corrupt(scene[:4], "haze", 1, seed=0)
