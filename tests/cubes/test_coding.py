"""Bounds, PSNR and ratios of whole cubes, in their own numbers and wherever they are saved."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import dask
import fakes
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openeo_nc import errors, metrics
from openeo_nc.codecs import payloads as coded_payloads
from openeo_nc.codecs import registry
from openeo_nc.codecs.guard import Shift
from openeo_nc.cubes import coding, on_error, rates
from openeo_nc.cubes.coding import decode
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.metrics import psnr
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.cubes.store import write_store
from openeo_nc.cubes.stored import open_cube
from openeo_nc.processes.save_result import save_result
from openeo_nc.sentinel2 import BANDS as SENTINEL2
from openeo_nc.tables import store_table

SLOW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking cubes takes minutes
)
SCALES = {"float32": [None, 1.0, 0.01], "float64": [1.0], "uint8": [None, 0.001],
          "int16": [None, 0.001, 3e-5], "uint16": [None, 1e-4], "int32": [None, 0.0001]}  # fmt: skip
"""What the cube's number 1 may mean, by dtype; fake-rgb's numbers are reflectance x 10000."""


@pytest.fixture
def few(codecs, monkeypatch):
    """Only the lossless codec beside the fake one, so that tests are quick."""
    monkeypatch.setattr(rates, "FALLBACKS", ("pcodec",))
    return codecs


def scene(dtype, scale, nodata, seed, *, smooth=False, side=20):
    """A cube of 2 x 2 partial tiles in the numbers of a dtype and scale, with holes."""
    rng = np.random.default_rng(seed)
    cube = fakes.cube(side, side - 3, dates=1, x0=600_070.0, seed=seed, nodata=nodata)
    values = cube.values.astype(np.float64)
    if smooth:
        y, x = np.mgrid[:side, : side - 3]
        values = 3000 + 1500 * np.sin(x / 5 + y / 7) + rng.normal(0, 20, values.shape)
    values *= 1.0 if scale is None else 1e-4 / scale
    if dtype == "uint8":
        values = np.clip(values, 0, 250)
    holes = rng.random(values.shape) < 0.1
    values = values.astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[holes] = np.nan
    elif nodata is not None:
        values[holes] = nodata
    cube = cube.copy(data=values).chunk({"t": 1})
    return cube if scale is None else cube.assign_attrs({SCALE: scale})


def worst(found, cube):
    """Largest error of valid pixels a band, after checking that no data is where it was."""
    a, b = cube.values.astype(np.float64), np.asarray(found, np.float64)
    nodata = cube.attrs.get("_FillValue")
    gone = np.isnan(a) if nodata is None else a == nodata
    np.testing.assert_array_equal(np.isnan(b) if nodata is None else b == nodata, gone)
    return np.where(gone, 0, np.abs(a - b)).max(axis=(0, 2, 3))


@SLOW
@given(st.data())
def test_a_bound_holds_in_the_cubes_numbers_in_memory_in_stores_in_xarray_and_in_tiffs(few, data):
    dtype = data.draw(st.sampled_from(list(SCALES)), "dtype")
    scale = data.draw(st.sampled_from(SCALES[dtype]), "scale")
    limits = None if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    nodata = None
    if limits is not None:
        nodata = data.draw(st.sampled_from([None, limits.min, limits.max, 100]), "nodata")
    cube = scene(dtype, scale, nodata, data.draw(st.integers(0, 99), "seed"))
    unit = 1.0 if scale is None else 1e-4 / scale
    bounds = data.draw(
        st.lists(st.sampled_from([0, 0.3, 0.5, 1, 1.5, 7, 40, 500.0]), min_size=3, max_size=3)
    )
    if limits is None:
        bounds = [max(bound, 0.01) * unit for bound in bounds]
    compressed = compress_cube(cube, "fake-rgb", max_error=bounds)
    assert (worst(compressed.values, cube) <= bounds).all()
    with tempfile.TemporaryDirectory() as folder:
        report = write_store(compressed, Path(folder) / "s.zarr")
        assert report.bound_held
        assert (np.array(report.metrics["band_errors"]) <= bounds).all()
        opened = open_cube(Path(folder) / "s.zarr")
        assert opened.dtype == cube.dtype
        np.testing.assert_array_equal(opened.values, compressed.values)
        shown = xr.open_zarr(Path(folder) / "s.zarr")["data"].sel(x=cube.x, y=cube.y)
        valid = cube.where(cube != nodata) if nodata is not None else cube
        rounding = 0 if limits is None else 1e-6 * float(valid.max())
        assert (worst(shown, valid.drop_attrs()) <= np.array(bounds) + rounding).all()
        if dtype in ("uint8", "int16", "uint16", "int32", "float32", "float64"):
            with output_folder(Path(folder) / "out") as outputs:
                save_result(compressed, "GTIFF")
            with rasterio.open(outputs.saved[0].files[0]) as file:
                assert (worst(file.read()[None], cube) <= bounds).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
@pytest.mark.parametrize("codec", ["fake-rgb", "klt-dct"])
def test_no_error_at_all_is_lossless(codecs, dtype, codec):
    cube = scene(dtype, None, None, 1)
    np.testing.assert_array_equal(compress_cube(cube, codec, max_error=0).values, cube.values)


def test_reflectances_are_lossless_in_their_own_numbers(codecs):
    """`auto` does not convert them where no conversion keeps the bound."""
    cube = scene("float32", 1.0, None, 2)
    compressed = compress_cube(cube, "auto", max_error=0)
    assert compressed.attrs["nc:codec"] == "klt-dct"
    np.testing.assert_array_equal(compressed.values, cube.values)
    assert compress_cube(cube, "auto").attrs["nc:codec"] == "fake-rgb"
    assert compress_cube(fakes.cube(), "auto", max_error=3).attrs["nc:codec"] == "fake-rgb"
    with pytest.raises(errors.InvalidParameterError, match=r"date 0, row.*klt-dct"):
        compress_cube(cube, "fake-rgb", max_error=1e-9).compute()


def test_a_tile_takes_whichever_codec_is_smallest(codecs):
    """A loose bound on a smooth scene is the codec's own; a lossless one of noise is not."""
    smooth = payloads_of(compress_cube(scene("int16", None, None, 3, smooth=True, side=80),
                                       "klt-dct", max_error=200))  # fmt: skip
    noise = payloads_of(compress_cube(scene("int16", None, None, 3), "fake-rgb", max_error=0))
    ours, theirs = (
        {card.codec_id if (card := coded_payloads.codec_of(payload)) else "fake-rgb"
         for payload in record.blocks.compute().ravel()}
        for record in (smooth, noise)
    )  # fmt: skip
    assert ours == {"klt-dct"}
    assert "fake-rgb" not in theirs
    for record in (smooth, noise):
        payload = record.blocks.compute().ravel()[0]
        tile = decode(payload, record.spec, record.coding.others)
        assert tile.dtype == record.dtype
        others = [registry.open_codec(o.codec_id) for o in record.coding.others]
        opened = [registry.open_codec(record.card.codec_id), *others]
        known = [c.encode_bounded(record.source[0, :, :16, :16].compute(), (0.0,) * 3,
                                  nodata=record.nodata) for c in opened]  # fmt: skip
        if record is noise:
            assert len(payload) == min(map(len, known))


@pytest.mark.parametrize("wanted", [55.0, 61.0, 70.0])
def test_a_psnr_is_met_in_each_tile(codecs, wanted):
    cube = scene("uint16", None, None, 4, smooth=True, side=32)
    compressed = compress_cube(cube, "fake-rgb", target_psnr=wanted)
    left = payloads_of(compressed).window.pad_left
    first = (slice(None), slice(None), slice(0, 16), slice(0, 16 - left))
    found = psnr(cube.values[first], compressed.values[first], peak=10_000.0)
    assert found == pytest.approx(wanted, abs=0.3)


def test_a_psnr_below_the_codecs_range_is_its_lowest_quality_and_one_above_needs_a_residual(few):
    cube = scene("uint16", None, None, 4, smooth=True)
    low = payloads_of(compress_cube(cube, "fake-rgb", target_psnr=1e-3)).blocks.compute()
    lowest = payloads_of(compress_cube(cube, "fake-rgb", 1)).blocks.compute()
    assert low.tolist() == lowest.tolist()
    exact = compress_cube(cube, "fake-rgb", target_psnr=500)
    np.testing.assert_array_equal(exact.values, cube.values)


def test_a_ratio_is_reached_by_every_tile_and_its_bytes_are_used(codecs, tmp_path):
    cube = scene("uint16", None, None, 5, smooth=True, side=64)
    for ratio in (1.5, 2.5):
        compressed = compress_cube(cube, "fake-rgb", target_ratio=ratio)
        record = payloads_of(compressed)
        source = record.source.compute()
        for (t, j, i), payload in np.ndenumerate(record.blocks.compute()):
            tile = source[t, :, 16 * j : 16 * j + 16, 16 * i : 16 * i + 16]
            valid = 2 * (tile != record.nodata).sum()
            if valid > 1000:  # smaller ones are mostly the fake's header
                assert len(payload) <= valid / ratio
                assert len(payload) > valid / ratio / 2
        report = write_store(compressed, tmp_path / f"{ratio}.zarr")
        assert report.rate == {"target_ratio": ratio}
        assert report.quality is None


def test_building_computes_nothing_whatever_is_asked(codecs, building):
    with building():
        for given in ({"target_psnr": 40}, {"target_ratio": 9}, {"max_error": [1, 2, 3]}):
            compressed = compress_cube(fakes.cube(), "fake-rgb", **given)
            assert payloads_of(compressed).blocks.shape == (2, 3, 3)
    assert not codecs.calls


def test_a_codec_that_keeps_no_bounds_is_refused_before_anything_is_computed(codecs, monkeypatch):
    monkeypatch.setattr(codecs.FakeCodec, "keeps_bounds", False)
    with pytest.raises(errors.InvalidParameterError, match=r"'fake-rgb' keeps no bound.*max_error"):
        compress_cube(fakes.cube(), "fake-rgb", max_error=3)
    compress_cube(fakes.cube(), "fake-rgb", target_psnr=30)


def test_same_inputs_have_one_key_and_another_rate_another(codecs):
    cube = fakes.cube()
    rate_sets = [
        {}, {"quality": 7}, {"target_psnr": 40}, {"target_ratio": 40}, {"max_error": 40},
        {"max_error": [40, 40, 41]}, {"target_psnr": 41},
    ]  # fmt: skip
    names = [[compress_cube(cube, "fake-rgb", **given).data.name for given in rate_sets]
             for _ in range(2)]  # fmt: skip
    assert names[0] == names[1]
    assert len(set(names[0])) == len(rate_sets)
    one_by_one = compress_cube(cube, "fake-rgb", max_error=[40, 40, 40])
    assert one_by_one.data.name == names[0][4]


@pytest.mark.parametrize("given", [{}, {"max_error": 3}, {"target_ratio": 4}])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_poison_tile_is_a_typed_error_that_names_it(few, given, scheduler):
    values = fakes.cube(dtype="float32").values
    values[1, 2, 20, 4] = np.inf
    cube = fakes.cube(dtype="float32").copy(data=values).chunk({"t": 1})
    compressed = compress_cube(cube, "fake-rgb", **given)
    with (
        dask.config.set(scheduler=scheduler),
        pytest.raises(errors.InvalidValuesError, match=r"date 1, row 1, column 0.*infinite"),
    ):
        compressed.compute()
    assert np.isfinite(compressed[0].compute()).all()


def test_each_tile_is_encoded_once_where_pixels_and_a_store_are_saved_together(few, tmp_path):
    compressed = compress_cube(fakes.cube(20, 17, dates=1), "fake-rgb", max_error=5)
    with output_folder(tmp_path / "out"):
        save_result(compressed, "ZARR")
        save_result(compressed, "GTIFF")
    alone = few.calls["analyse"]
    few.calls.clear()
    payloads_of(compressed).blocks.compute()
    assert few.calls["analyse"] == alone


# --- guard ----------------------------------------------------------------------------------------


class BrightGuard:
    """Flags tiles that are bright on average; remembers what it was given."""

    seen: ClassVar = []

    @classmethod
    def load(cls, card):
        assert card.codec_id == "fake-rgb"
        return cls()

    def score(self, x, *, nodata=None, payload=None):
        self.seen.append(payload)
        values = x[~np.isnan(x)]
        score = float(values.mean()) / 1000 - 5 if values.size > 100 else np.nan
        return Shift(score=score, flagged=score > 0, kind="bright", features={"mean": score})


@pytest.fixture
def guarded(few, monkeypatch):
    """The fake codec's card names a guard, and a scene whose second date is bright."""
    cards = dict(registry._cards())
    cards["fake-rgb"] = replace(cards["fake-rgb"], guard="g.safetensors", guard_sha256="ab" * 32)
    monkeypatch.setattr(registry, "_cards", lambda: cards)
    monkeypatch.setattr(coding, "Guard", BrightGuard)
    monkeypatch.setattr(BrightGuard, "seen", [])
    values = fakes.cube(32, 32, x0=600_000.0 - 160 * 5, dtype="float32").values * 0.3
    values[1] += 6000
    values[0, :, :16, :16] = np.nan
    cube = fakes.cube(32, 32, x0=600_000.0 - 160 * 5, dtype="float32")
    return cube.copy(data=values.astype("float32")).chunk({"t": 1})


def test_flagged_tiles_keep_the_bound_and_others_the_quality(guarded, few, tmp_path):
    plain = compress_cube(guarded, "fake-rgb", 2).compute()
    few.calls.clear()
    compressed = compress_cube(guarded, "fake-rgb", 2, max_error=3, guard="bounded")
    report = write_store(compressed, tmp_path / "s.zarr")
    np.testing.assert_array_equal(compressed[0].values, plain[0].values)
    error = np.abs(compressed[1].values.astype(float) - guarded[1].values)
    assert error.max() <= 3 < np.abs(plain[1].values.astype(float) - guarded[1].values).max()
    assert report.rate == {"quality": 2.0, "max_error": 3.0, "guard": "bounded"}
    assert report.bound_held
    assert max(report.metrics["band_errors"]) == error.max() < report.metrics["max_error"]
    flagged = [[1, j, i] for j in range(2) for i in range(2)]
    assert report.shifts == {
        "tiles": 7, "flagged": 4, "score_max": pytest.approx(2.5, abs=0.3), "flagged_tiles": flagged,
    }  # fmt: skip
    record = json.loads((tmp_path / "s.zarr" / ".nc" / "write.json").read_text())
    assert [shift["tile"] for shift in record["shifts"] if shift["flagged"]] == flagged
    assert record["shifts"][0] == {
        "tile": [0, 0, 0], "score": None, "flagged": False, "kind": "bright",
        "features": {"mean": None},
    }  # fmt: skip
    assert payloads_of(open_cube(report.path)).coding == payloads_of(compressed).coding


def test_tiles_that_the_guard_cannot_judge_keep_the_bound(guarded, tmp_path):
    cube = guarded.copy(deep=True).compute()
    cube[0, :, 16:, :] = np.nan  # of the first date, one tile has pixels, fewer than are judged
    cube[0, :, :16, :] = np.where(np.arange(32) % 16 < 1, cube[0, :, :16, :], np.nan)
    cube = cube.chunk({"t": 1})
    plain = compress_cube(cube, "fake-rgb", 2)
    assert float(abs(plain - cube)[0].max()) > 3
    report = write_store(
        compress_cube(cube, "fake-rgb", 2, max_error=3, guard="bounded"), tmp_path / "s.zarr"
    )
    assert (report.shifts["tiles"], report.shifts["flagged"]) == (4, 4)
    assert report.metrics["max_error"] <= 3
    assert report.bound_held


def test_bands_without_a_guard_of_their_own_are_bounded_everywhere():
    cube = fakes.cube(40, 36, bands=("a", "b"), dates=1, dtype="uint16")
    compressed = compress_cube(cube, "auto", 2, max_error=4, guard="bounded")
    assert compressed.attrs["nc:codec"] == "klt-dct"
    error = abs(compressed.values.astype(int) - cube.values)
    assert 0 < error.max() <= 4


def reflectance(side=70):
    values = np.random.default_rng(0).uniform(0, 1.5, (1, 12, side, side)).astype("float32")
    frame = fakes.cube(side, side, bands=SENTINEL2, dates=1, dtype="float32")
    return frame.copy(data=values).chunk({"t": 1}).assign_attrs({SCALE: 1.0})


def test_auto_keeps_a_bound_of_the_guard_that_converting_would_cost():
    cube = reflectance()
    for bound, codec in ((0, "klt-dct"), (1e-7, "klt-dct"), (0.01, "s2l2a-restoration")):
        compressed = compress_cube(cube, quality=2, max_error=bound, guard="bounded")
        assert compressed.attrs["nc:codec"] == codec
    tight = compress_cube(cube, quality=2, max_error=1e-7, guard="bounded")
    assert not any(shift.trusted for shift in payloads_of(tight).shifts.compute().flat)
    assert np.abs(tight.values.astype(float) - cube.values).max() <= 1e-7


def test_a_bound_that_no_number_keeps_is_refused_before_any_task(building):
    with building(), pytest.raises(errors.InvalidParameterError, match="max_error of 0"):
        compress_cube(reflectance(), "s2l2a-hyperprior", 2, max_error=0, guard="bounded")


def test_a_tile_that_cannot_be_judged_or_encoded_is_no_data_where_that_is_asked_for():
    cube = xr.concat([reflectance(), reflectance()], "t").compute()
    cube[0, 0] = np.inf
    cube = cube.chunk({"t": 1})
    with on_error.nodata_on_error("job"):
        compressed = compress_cube(cube, "klt-dct", 4, max_error=0.3, guard="bounded").values
    assert np.isnan(compressed[0]).all()
    assert np.isfinite(compressed[1]).all()


def test_a_guard_that_only_reports_changes_no_payload(guarded, tmp_path):
    plain = compress_cube(guarded, "fake-rgb", 2)
    compressed = compress_cube(guarded, "fake-rgb", 2, guard="report")
    blocks = payloads_of(compressed).blocks
    assert blocks.compute().tolist() == payloads_of(plain).blocks.compute().tolist()
    report = write_store(compressed, tmp_path / "s.zarr", measure=False)
    assert (report.shifts["flagged"], report.quality, report.bound_held) == (4, 2.0, None)
    assert set(BrightGuard.seen) == set(blocks.compute().ravel())
    item = json.loads((tmp_path / "s.zarr" / "item.json").read_text())
    assert item["properties"]["nc:shifts"]["flagged"] == 4
    assert re.search("flagged by the guard +4 tiles", store_table(report))


def test_building_scores_nothing_and_a_codec_without_a_guard_is_refused(guarded, building):
    with building():
        compress_cube(guarded, "fake-rgb", 2, max_error=3, guard="bounded")
    assert not BrightGuard.seen
    with pytest.raises(errors.InvalidParameterError, match="'fake-any' has no guard"):
        compress_cube(guarded, "fake-any", guard="report")
    with pytest.raises(errors.InvalidParameterError, match="no dates together"):
        compress_cube(guarded, "klt-dct", max_error=3, guard="bounded", dates=30)


def test_the_guard_sees_reflectance_x_10000_whatever_the_numbers_of_the_cube(guarded, monkeypatch):
    cards = registry._cards() | {"klt-dct": registry.get_card("klt-dct")}
    monkeypatch.setattr(BrightGuard, "load", classmethod(lambda cls, card: cls()))
    monkeypatch.setattr(registry, "_cards", lambda: cards)

    def scores(cube, codec):
        shifts = payloads_of(compress_cube(cube, codec, 4, guard="report")).shifts.compute()
        return [shift.score for shift in shifts.ravel()]

    reflectance = (guarded * np.float32(1e-4)).assign_attrs({SCALE: 1.0})
    for codec in ("fake-rgb", "klt-dct"):
        expected = scores(guarded, codec)
        np.testing.assert_allclose(scores(reflectance, codec), expected, atol=1e-3)
    counts = guarded.fillna(-9).round().astype("int16").assign_attrs(_FillValue=-9, **{SCALE: 2e-4})
    np.testing.assert_allclose(scores(counts, "klt-dct"), scores(guarded * 2, "klt-dct"), atol=1e-2)


def test_work_is_counted_in_tiles_and_bytes(codecs):
    cube = fakes.cube(40, 36)
    totals = (
        metrics.TILES_ENCODED, metrics.PIXEL_BYTES_ENCODED, metrics.PAYLOAD_BYTES_ENCODED,
        metrics.TILES_DECODED, metrics.PIXEL_BYTES_DECODED, metrics.PAYLOAD_BYTES_DECODED,
    )  # fmt: skip
    before = [total.value() for total in totals]
    compressed = compress_cube(cube, "fake-rgb")
    blocks = payloads_of(compressed).blocks
    coded, _ = dask.compute(blocks, compressed)
    grown = [total.value() - then for total, then in zip(totals, before, strict=True)]
    tiles, payload = coded.size, sum(map(len, coded.ravel()))
    pixels = tiles * cube.sizes["bands"] * 16 * 16 * cube.dtype.itemsize
    assert grown == [tiles, pixels, payload, tiles, pixels, payload]
