"""The universal codec: its transform, contexts, quantiser, side data, and bytes on real tiles."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import fft

from openeo_nc.codecs import cells, weights
from openeo_nc.codecs import klt_dct_context as contexts
from openeo_nc.codecs import klt_dct_quantiser as quantiser
from openeo_nc.codecs import klt_dct_transform as transform
from openeo_nc.codecs.base import quality_step
from openeo_nc.codecs.klt_dct_analysis import decompose
from openeo_nc.codecs.klt_dct_context import DIAGONALS, ZONES, Box, ContextModel, N, boxes, walk
from openeo_nc.codecs.klt_dct_dc import dc_steps
from openeo_nc.codecs.klt_dct_side import Side, fixed_peak
from openeo_nc.codecs.registry import get_card, open_codec
from openeo_nc.errors import (
    InvalidParameterError,
    InvalidValuesError,
    PayloadError,
    WeightsInvalidError,
)


@pytest.fixture(scope="module")
def codec():
    return open_codec("klt-dct")


@pytest.fixture(scope="module")
def model():
    return ContextModel.from_weights(weights.load(get_card("klt-dct")))


def scene(bands=4, height=72, width=96, seed=0, noise=20.0):
    """Smooth bands that go together, with edges and a little noise, as uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    parts = np.stack([np.sin(x / 9 + y / 17), np.cos(y / 11), (x // 20 + y // 30) % 2])
    mixed = np.tensordot(rng.uniform(0.2, 1, (bands, 3)), parts, 1)
    values = 2500 + 800 * mixed + rng.normal(0, noise, (bands, height, width))
    return np.clip(values, 0, 10000).astype(np.uint16)


def psnr(x, out, peak=10000):
    return 10 * np.log10(peak**2 / np.mean((x.astype(float) - out.astype(float)) ** 2))


# --- transform ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_cells_of_equal_pixels_are_found_and_come_back(side):
    rng = np.random.default_rng(side)
    band = cells.enlarge(rng.normal(size=(50, 50)), side, (47, 50)).astype(np.float32)
    assert cells.repeat_of(band) == side
    coefficients = transform.forward(band[::side, ::side], side)
    assert coefficients.shape == (N, N, *transform.blocks_of(47, 50))
    assert not coefficients[N // side :].any()
    assert not coefficients[:, N // side :].any()
    np.testing.assert_allclose(transform.inverse(coefficients, side, (47, 50)), band, atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 6])
def test_the_block_transform_keeps_squared_errors(side):
    rng = np.random.default_rng(0)
    band = cells.enlarge(rng.normal(size=(48, 72)), side, (48, 72)).astype(np.float32)
    coefficients = transform.forward(band[::side, ::side], side)
    assert np.sum(coefficients**2) == pytest.approx(np.sum(band**2), rel=1e-5)
    whole = fft.dctn(band[:N, N : 2 * N], norm="ortho")
    if side == 1:
        np.testing.assert_allclose(coefficients[:, :, 0, 1], whole, atol=1e-5)


def test_components_of_zones_invert_and_concentrate():
    x = scene(5).astype(np.float32) / 300
    repeats = np.array([1, 1, 1, 2, 6], np.uint8)
    x[3] = cells.enlarge(x[3, ::2, ::2], 2, x[3].shape)
    x[4] = cells.enlarge(x[4, ::6, ::6], 6, x[4].shape)
    pairs = zip(x, repeats.tolist(), strict=True)
    coefficients = np.stack([transform.forward((b - b.mean())[::r, ::r], r) for b, r in pairs])
    components, bases = transform.spectral_forward(coefficients, repeats, np.ones((3, 4)))
    assert bases[0] is not None
    axes = []
    for stored in bases:
        axes.append(axes[-1] if stored is None else transform.synthesis(stored))
    back = transform.spectral_inverse(components, axes)
    np.testing.assert_allclose(back, coefficients, atol=2e-3)
    power = (components[:, contexts.zones() == 0].reshape(5, -1) ** 2).sum(1)
    assert power[0] > 0.7 * power.sum()


# --- contexts -------------------------------------------------------------------------------


def planes_like(rng, components=3, blocks=(3, 5)):
    """Random integers inside random boxes, skewed."""
    u, v = np.indices((N, N))
    planes = np.zeros((components, N, N, *blocks), np.int32)
    for plane in planes:
        inside = (np.maximum(u, v) < rng.integers(1, N + 1)) & (u + v <= rng.integers(0, 30))
        scale = 6 / (1 + u + v)[..., None, None] * inside[..., None, None]
        plane[:] = np.rint(rng.laplace(size=(N, N, *blocks)) * scale)
    planes[:, 0, 0] += rng.integers(-400, 400, (components, *blocks))
    return quantiser.skew(planes)


def visits(model, planes, extents):
    """(component, place in plane, table) of every coefficient in coding order, and predictions."""
    found, predicted = [], []

    def visit(c, where, index, prediction):
        values = planes[c].reshape(-1)[where]
        places = np.arange(planes[c].size)[where]
        shift = np.zeros_like(values) if prediction is None else prediction
        found.extend(zip([c] * index.size, places.tolist(), index.tolist(), strict=True))
        predicted.extend(shift.tolist())
        return values

    walk(model, extents, planes.shape[3:], visit)
    return found, predicted


@pytest.mark.parametrize("blocks", [(1, 1), (1, 4), (3, 5), (2, 2)])
def test_every_coefficient_in_a_box_is_coded_once(model, blocks):
    planes = planes_like(np.random.default_rng(1), 4, blocks)
    planes[2] = 0
    extents = boxes(planes)
    assert extents[2] == Box(side=0, last=0)
    found, _ = visits(model, planes, extents)
    places = {(c, place) for c, place, _ in found}
    assert len(places) == len(found)
    nonzero = {(int(c), int(p)) for c, p in zip(*np.nonzero(planes.reshape(4, -1)), strict=True)}
    assert nonzero <= places
    assert all(table < len(model.tables.freq) for _, _, table in found)


def test_contexts_depend_on_what_was_coded_before_only(model):
    rng = np.random.default_rng(2)
    planes = planes_like(rng)
    extents = [Box(side=N, last=20)] * 3
    found, predicted = visits(model, planes, extents)
    for _ in range(25):
        at = int(rng.integers(len(found)))
        c, place, _ = found[at]
        changed = planes.copy()
        changed[c].reshape(-1)[place] += int(rng.choice([-1000, -3, 2, 50, 2**31 - 1]))
        others, other_predictions = visits(model, changed, extents)
        assert others[: at + 1] == found[: at + 1]
        assert other_predictions[: at + 1] == predicted[: at + 1]


def test_contexts_of_extreme_integers_stay_in_the_tables(model):
    planes = np.full((3, DIAGONALS, N, 2, 3), np.iinfo(np.int32).min, np.int32)
    planes[:, :, :, 0] = np.iinfo(np.int32).max
    found, _ = visits(model, planes, [Box(side=N, last=2 * N - 2)] * 3)
    assert all(0 <= table < len(model.tables.freq) for _, _, table in found)


@pytest.mark.parametrize("blocks", [(1, 1), (1, 7), (5, 1), (16, 16), (11, 13)])
def test_dc_is_predicted_from_blocks_coded_before(blocks):
    coded: set[int] = set()
    for step in dc_steps(blocks):
        if step.neighbours.size:
            assert set(step.neighbours.reshape(-1).tolist()) <= coded
            assert (step.known.sum(0) >= 1).all()
        at = set(step.at.tolist())
        assert not at & coded
        coded |= at
    assert coded == set(range(blocks[0] * blocks[1]))
    flat = np.full(blocks[0] * blocks[1], -7, np.int32)
    for step in dc_steps(blocks)[1:]:
        prediction, spread = step.predict(flat[step.neighbours])
        assert (prediction == -7).all()
        assert not spread.any()


def test_skewed_planes_come_back():
    rng = np.random.default_rng(0)
    planes = rng.integers(-9, 9, (2, N, N, 2, 3)).astype(np.int32)
    skewed = quantiser.skew(planes)
    assert skewed[1, 5, 2, 1, 2] == planes[1, 2, 3, 1, 2]
    np.testing.assert_array_equal(quantiser.unskew(skewed), planes)


def test_weights_that_could_overflow_or_do_not_fit_are_refused():
    good = weights.load(get_card("klt-dct"))
    for name, value in {
        "own": good["own"] + 2000,
        "before": -good["before"] - 1,
        "bias": good["bias"][:1],
        "ac_index": good["ac_index"] + 200,
        "freq": good["freq"] + 1,
    }.items():
        with pytest.raises(WeightsInvalidError):
            ContextModel.from_weights({**good, name: value})
        with pytest.raises(WeightsInvalidError, match=name):
            ContextModel.from_weights({k: v for k, v in good.items() if k != name})


# --- quantiser ------------------------------------------------------------------------------


def test_quantising_for_rate_costs_less_than_rounding(codec):
    x = scene(4, 96, 96, noise=60)
    tile = decompose(x, None, 4.0, fixed_peak(x.dtype))
    rounded = np.rint(tile.components).astype(np.int32)
    chosen = quantiser.quantise(codec._model, tile.components, tile.valid)
    assert (np.abs(chosen) <= np.abs(rounded)).all()
    cost = []
    for integers in (rounded, chosen):
        error = float(((tile.components - integers) ** 2).sum())
        cost.append(error + quantiser.LMBDA * 8 * len(codec._coded(integers)))
    assert cost[1] < cost[0]


def test_centroids_lower_the_error():
    rng = np.random.default_rng(0)
    components = rng.laplace(size=(2, N, N, 3, 3)).astype(np.float32)
    integers = (np.sign(components) * np.floor(np.abs(components) + 0.2)).astype(np.int32)
    centres = quantiser.centroids(components, integers)
    assert centres.shape == (ZONES, 3)
    better = np.mean((quantiser.dequantise(integers, centres) - components) ** 2)
    assert better < 0.95 * np.mean((integers - components) ** 2)


# --- side data ------------------------------------------------------------------------------


def side_data(codec, dtype="float32", bands=5):
    x = scene(bands).astype(dtype)
    x[1] = cells.enlarge(x[1, ::2, ::2], 2, x[1].shape)
    latents = codec.analyse(x, quality=5)
    return latents.side, codec._side(latents.side, bands, latents.dtype)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8", "int64"])
def test_side_data_come_back(codec, dtype):
    data, side = side_data(codec, dtype)
    assert side.to_bytes(fixed_peak(np.dtype(dtype)), codec._basis_tables) == data
    assert side.repeats.tolist() == [1, 2, 1, 1, 1]
    assert len(side.axes) == ZONES
    peak = {"uint16": 10000, "uint8": 255}.get(dtype)
    assert side.peak == (peak or np.ptp(scene_with_repeat(dtype)))
    assert side.step(5) == quality_step(5, side.peak)


def scene_with_repeat(dtype):
    x = scene(5).astype(dtype)
    x[1] = cells.enlarge(x[1, ::2, ::2], 2, x[1].shape)
    return x


def test_damaged_side_data_are_payload_errors(codec):
    data, _ = side_data(codec)
    dtype, tables = np.dtype("float32"), codec._basis_tables
    forged = bytearray(data)
    forged[:8] = np.array(np.inf).tobytes()
    counts = bytearray(data)
    counts[16 + 10 + 2 : 16 + 10 + 4] = b"\xff\x0f"
    first_inherits = bytearray(data)
    first_inherits[16 + 10 + 2 : 16 + 10 + 4] = b"\x00\x80"
    for wrong in (b"", data[:20], data + b"\1\2\3\4", forged, counts, first_inherits):
        with pytest.raises(PayloadError):
            Side.from_bytes(bytes(wrong), 5, fixed_peak(np.dtype(dtype)), tables)


# --- the codec ------------------------------------------------------------------------------


def test_a_constant_tile_comes_back_and_is_small(codec):
    for dtype, value in (("float32", -273.15), ("float64", 1e300), ("int64", 2**62), ("int8", -5)):
        x = np.full((3, 50, 60), value, dtype)
        payload = codec.encode(x)
        assert len(payload) < 100
        out = codec.decode(payload)
        if np.dtype(dtype).itemsize > 2:
            np.testing.assert_array_equal(out, x)
        else:
            assert np.abs(out.astype(int) - x).max() <= 1


def test_repeated_pixels_cost_what_their_own_resolution_costs(codec):
    x = scene(3, 96, 96, noise=150)
    fine = len(codec.encode(x, 7))
    x[2] = cells.enlarge(x[2, ::2, ::2], 2, x[2].shape)
    payload = codec.encode(x, 7)
    assert len(payload) < 0.85 * fine
    out = codec.decode(payload)
    assert cells.repeat_of(out[2]) == 2
    assert cells.repeat_of(out[1]) == 1


def test_missing_blocks_cost_next_to_nothing(codec):
    x = scene(4, 192, 192, noise=50)
    x[x == 0] = 1
    whole = codec.encode(x, nodata=0)
    x[:, :, 90:] = 0
    half = codec.encode(x, nodata=0)
    assert len(half) < 0.55 * len(whole)
    out = codec.decode(half)
    np.testing.assert_array_equal(out == 0, x == 0)
    assert psnr(x, out) > 40


def test_a_band_without_data_does_not_disturb_the_others(codec):
    x = scene(3).astype(np.float32)
    x[1] = np.nan
    x[0, :5] = np.nan
    out = codec.decode(codec.encode(x, 6))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(x))
    valid = ~np.isnan(x)
    assert psnr(x[valid], out[valid], np.ptp(x[valid])) > 38


@pytest.mark.parametrize("bands", [1, 2, 65, 200])
def test_any_number_of_bands(codec, bands):
    base = scene(3, 48, 50, noise=5).astype(float)
    share = np.random.default_rng(0).dirichlet(np.ones(3), bands)
    x = np.tensordot(share, base, 1).astype(np.uint16)
    payload = codec.encode(x)
    assert psnr(x, codec.decode(payload)) > 38
    assert 8 * len(payload) / x.size < 2


def test_tiles_too_large_are_refused_before_anything_is_allocated(codec):
    one = np.zeros(1, np.uint8)
    for shape in ((2049, 1, 1), (1000, 1, 60000), (1, 30000, 30000)):
        with pytest.raises(InvalidParameterError, match="too large"):
            codec.encode(np.broadcast_to(one, shape))


def test_ranges_that_leave_float64_are_refused(codec):
    x = np.full((1, 9, 9), 1.7e308)
    x[0, 0] = -1.7e308
    with pytest.raises(InvalidValuesError, match="range"):
        codec.encode(x)


def test_the_quality_of_floats_refers_to_their_range(codec):
    x = scene(3).astype(np.float64)
    one = codec.decode(codec.encode(x, 4))
    for factor, shift in ((1e-4, 0.0), (1e30, 0.0), (0.01, -280.0)):
        out = codec.decode(codec.encode(x * factor + shift, 4))
        error = np.sqrt(np.mean((out - (x * factor + shift)) ** 2)) / factor
        assert error == pytest.approx(np.sqrt(np.mean((one - x) ** 2)), rel=0.05)


def test_the_basis_of_the_card_is_refused(codec):
    with pytest.raises(InvalidParameterError, match="klt-dct has no basis"):
        codec.analyse(scene(), basis="card")


# --- real data ------------------------------------------------------------------------------


def read(path):
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("s2/ssl4eos12/ssl4eos12_val_0080717_0.tif", 0.65),
        ("s2/ssl4eos12/ssl4eos12_val_0121563_1.tif", 0.75),
        ("s2/majortom_l2a/433D_629L_3_1.tif", 0.55),
        ("s2/bigearthnet_l2a/S2A_MSIL2A_20170617T113321_36_85.tif", 0.45),
    ],
)
def test_real_tiles_take_far_fewer_bytes_than_klt_and_jpeg_2000(codec, shared_data, name, limit):
    from openeo_nc.benchmarks.baselines import BASELINES

    x = read(shared_data / name)
    rival = BASELINES["klt-jpeg2000-joint"]
    curves = []
    for one, levels in ((codec, np.arange(1, 7)), (rival, range(54, 68, 2))):
        payloads = [one.encode(x, float(level)) for level in levels]
        rates = [8 * len(p) / x.size for p in payloads]
        qualities = [psnr(np.clip(x, 0, 10000), np.clip(one.decode(p), 0, 10000)) for p in payloads]
        curves.append((qualities, np.log(rates)))
    for wanted in (41, 43, 45):
        ours, theirs = (np.exp(np.interp(wanted, *curve)) for curve in curves)
        assert ours < limit * theirs


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "bits"),
    [("s1/majortom_rtc/433D_629L_3_1.tif", 2.3), ("labels/majortom_dem/433D_629L_3_1.tif", 1.5)],
)
def test_other_real_rasters_are_coded_well(codec, shared_data, name, bits):
    x = read(shared_data / name).astype(np.float32)
    payload = codec.encode(x, 5)
    assert 8 * len(payload) / x.size < bits
    assert psnr(x, codec.decode(payload), np.ptp(x)) > 38


@pytest.mark.realdata
def test_a_global_temperature_field_is_coded_well(codec, shared_data):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(shared_data / "era5/era5_2023-01-10T23_t850_global_025.nc") as file:
        name = next(iter(file.data_vars))
        x = np.asarray(file[name].values, np.float32).reshape(1, 721, 1440)
    payload = codec.encode(x, 5)
    out = codec.decode(payload)
    assert x.nbytes / len(payload) > 150
    assert np.sqrt(np.mean((out - x) ** 2)) < 0.3


def test_training_places_are_not_evaluation_places():
    from pathlib import Path

    import openeo_nc

    split = Path(openeo_nc.__file__).parent / "training" / "splits" / "s2l2a.json"
    document = json.loads(split.read_text(encoding="utf-8"))
    sides = [{f for e in document[side] for f in e["files"]} for side in ("train", "evaluation")]
    assert not sides[0] & sides[1]
    assert get_card("klt-dct").evaluation["split"] == "s2l2a"
