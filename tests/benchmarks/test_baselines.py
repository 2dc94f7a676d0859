"""Baselines: payloads stand alone, every byte counts, and they earn the rates of the tables."""

from __future__ import annotations

import numpy as np
import pytest

from openeo_nc.benchmarks.baselines import BASELINES
from openeo_nc.errors import (
    DataTypeUnsupportedError,
    InvalidParameterError,
    PayloadError,
)


@pytest.fixture
def tile():
    """Smooth correlated bands with some noise, (6, 61, 70) uint16."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:61, :70]
    shapes = np.stack([np.sin(x / 9) * np.cos(y / 7), np.hypot(x - 30, y - 40) / 50])
    mix = rng.normal(0, 700, (6, 2))
    noise = rng.normal(0, 15, (6, 61, 70))
    return (3000 + np.tensordot(mix, shapes, 1) + noise).clip(0, 65535).astype(np.uint16)


def rmse(x, x_hat):
    return float(np.sqrt(np.mean((x.astype(float) - x_hat) ** 2)))


@pytest.fixture(params=sorted(BASELINES))
def baseline(request):
    return BASELINES[request.param]


def test_names_are_keys():
    assert all(name == baseline.name for name, baseline in BASELINES.items())
    assert all(list(b.qualities) == sorted(b.qualities) for b in BASELINES.values())


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_round_trip_keeps_shape_and_dtype(baseline, tile, dtype):
    x = tile if dtype == "uint16" else (tile.astype(np.int32) - 3100).astype(np.int16)
    payload = baseline.encode(x, 66)
    x_hat = baseline.decode(payload)
    assert isinstance(payload, bytes)
    assert x_hat.shape == x.shape
    assert x_hat.dtype == x.dtype
    # The target is an error of 65535 / 10^(66 / 20) = 33; OpenJPEG estimates it.
    assert rmse(x, x_hat) < 60


def test_quality_halves_the_squared_error_every_3(baseline, tile):
    sizes = [len(baseline.encode(tile, q)) for q in (60, 66, 72)]
    errors = [rmse(tile, baseline.decode(baseline.encode(tile, q))) for q in (60, 66, 72)]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert rmse(tile, baseline.decode(baseline.encode(tile, 96))) < 2


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 5), (2, 1, 9), (3, 33, 2), (4, 20, 20)])
def test_any_shape(baseline, shape):
    x = np.random.default_rng(1).integers(0, 4000, shape).astype(np.uint16)
    x_hat = baseline.decode(baseline.encode(x, 96))
    assert x_hat.shape == shape
    # OpenJPEG's rate control drops most bits of a single pixel.
    assert rmse(x, x_hat) < (3 if x.size > 1 else 512)


def test_full_range_does_not_overflow(baseline):
    rng = np.random.default_rng(2)
    x = (rng.random((5, 24, 24)) < 0.5).astype(np.uint16) * np.uint16(65535)
    x[:] = x[0]  # one component of sqrt(5) * 65535: more than 16 bits hold
    assert rmse(x, baseline.decode(baseline.encode(x, 90))) < 20


def test_the_basis_is_counted(tile):
    flat = np.full_like(tile, 1234)
    # Components of a flat tile are all zero, stored as 32768: the codestreams of such an image.
    zeros = np.full_like(tile, 32768)
    streams = len(BASELINES["jpeg2000-bands"].encode(zeros, 57))
    assert len(BASELINES["klt-jpeg2000"].encode(flat, 57)) == 2 + 6 * 6 * 4 + 6 * 4 + streams
    stream = len(BASELINES["jpeg2000-components"].encode(zeros, 57))
    joint = len(BASELINES["klt-jpeg2000-joint"].encode(flat, 57)) - 2 - 6 * 6 * 2 - 6 * 2
    assert stream - 20 < joint <= stream  # a resolution level fewer
    for b in BASELINES.values():
        assert rmse(flat, b.decode(b.encode(flat, 96))) <= 1


def test_the_klt_pays_on_correlated_bands(tile):
    sizes = {name: len(b.encode(tile, 66)) for name, b in BASELINES.items()}
    assert sizes["klt-jpeg2000-joint"] < sizes["klt-jpeg2000"] < sizes["jpeg2000-bands"]
    assert sizes["jpeg2000-components"] < sizes["jpeg2000-bands"]


def test_changed_payloads_are_refused(baseline, tile):
    payload = baseline.encode(tile, 60)
    for bad in (b"", payload[:1], payload[:3], payload[:20], payload[:150]):
        with pytest.raises(PayloadError):
            baseline.decode(bad)


def test_bad_tiles_are_refused(baseline, tile):
    with pytest.raises(DataTypeUnsupportedError, match="float32"):
        baseline.encode(tile.astype(np.float32), 60)
    for bad in (tile[0], tile[:0], np.zeros((256, 2, 2), np.uint16)):
        with pytest.raises(InvalidParameterError, match="bands"):
            baseline.encode(bad, 60)
