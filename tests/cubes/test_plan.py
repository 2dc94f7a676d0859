"""Plans: what they count, against counting by hand; what is refused; that they stay linear."""

from __future__ import annotations

import time
from dataclasses import replace

import dask
import numpy as np
import pytest
import stac_scenes as scenes

from openeo_nc.codecs.rate import Rate
from openeo_nc.cubes import stac, tile_store
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.embed import embed_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.plan import Limits, check, plan_cube, plan_outputs
from openeo_nc.cubes.throughput import Throughput, measured
from openeo_nc.errors import PlanTooLargeError, StorageQuotaExceededError
from openeo_nc.models.registry import get_model_card
from openeo_nc.processes.save_result import save_result
from openeo_nc.sentinel2 import BANDS

SIDE = 384
CORNER = (SIDE * 10 * 100.0, SIDE * 10 * 1000.0)
"""A corner of the grid's tiles, in m."""
MIB = 1 << 20


def point(kind, value, bits, psnr=None, seconds=1e-8):
    return {
        "kind": kind, "value": value, "encode": seconds, "decode": seconds / 2,
        "bits": bits, "bits_low": bits / 2, "bits_high": bits * 2, "psnr": psnr,
    }  # fmt: skip


@pytest.fixture
def known():
    """Figures that are easy to reckon with."""
    points = [
        point("quality", 1, 0.25, 40.0), point("quality", 5, 1.0, 50.0),
        point("target_psnr", 45, 0.5, 45.0, 4e-8), point("target_ratio", 16, 1.0, 50.0, 5e-8),
        point("max_error", 10, 2.0, 60.0, 1e-7), point("max_error", 0, 6.0, None, 1e-7),
    ]  # fmt: skip
    codec = {"memory": {"process": 200 * MIB, "codec": 0, "tile": 100 * MIB}, "points": points}
    machine = {"cpu": "abacus", "cores": 1}
    return Throughput.of(
        {"machine": machine, "shape": [1, SIDE, SIDE], "codecs": {"klt-dct": codec}}
    )


@pytest.fixture
def area(tmp_path):
    """Loads a virtual scene of whole tiles a side; its files do not exist."""

    def loaded(side, dates=1, bands=("B04", "B05")):
        items = []
        for date in range(dates):
            assets = {
                band: scenes.asset(
                    f"{tmp_path}/{date}/{band}.tif", res, *CORNER, shape=(size, size),
                    **{"file:size": size * size},
                )
                for band in bands
                for res in [20 if band in ("B05", "B06", "B07", "B8A", "B11", "B12") else 10]
                for size in [side * SIDE * 10 // res]
            }  # fmt: skip
            when = f"2026-05-{date + 1:02d}T10:00:00Z"
            items.append(scenes.item(f"S2_{date}", when, assets))
        folder = tmp_path / f"{side}-{dates}"
        folder.mkdir()
        return stac.load(str(scenes.write_collection(folder, items)))

    return loaded


def planned(tmp_path, cube, form, known):
    with output_folder(tmp_path / "nowhere") as outputs:
        save_result(cube, form)
        found = plan_outputs(outputs, known)
        outputs.plans.clear()
    assert not (tmp_path / "nowhere").exists()
    return found


def test_a_store_of_a_virtual_area(tmp_path, area, known):
    cube = area(3, dates=2)
    plan = planned(tmp_path, compress_cube(cube, "klt-dct", 5.0), "ZARR", known)
    samples = 2 * 2 * 9 * SIDE**2
    native = 2 * 9 * (SIDE**2 + (SIDE // 2) ** 2)
    assert (plan.tiles, plan.samples, plan.kept_tiles) == (18, samples, 0)
    assert plan.source_bytes == 2 * native
    assert plan.read_bytes == native
    assert plan.cube_bytes == 4 * samples
    assert plan.output_bytes.value == pytest.approx(samples / 8)
    assert plan.output_bytes.low < plan.output_bytes.value < plan.output_bytes.high
    coding = samples * (1e-8 + 0.5e-8)  # encoded, then decoded to measure its error
    overhead = plan.tasks * 0.002 + samples * 2e-8
    assert plan.cpu_seconds.value == pytest.approx(coding + overhead)
    assert plan.codecs == ("klt-dct",)
    assert "abacus" in plan.basis
    assert "18 tiles" in str(plan.document()) or plan.document()["tiles"] == 18


@pytest.mark.parametrize("form", ["GTIFF", "NETCDF"])
def test_windows_read_are_found_in_fused_tasks(tmp_path, area, known, form):
    cube = area(2)
    plan = planned(tmp_path, compress_cube(cube, "klt-dct", 5.0), form, known)
    assert plan.source_bytes == 2 * 4 * (SIDE**2 + (SIDE // 2) ** 2)
    assert plan.output_bytes.high == plan.cube_bytes == 4 * 2 * 4 * SIDE**2
    assert plan.tiles == 4


@pytest.mark.parametrize("form", ["GTIFF", "NETCDF"])
def test_windows_read_are_found_in_a_mean_over_dates(tmp_path, area, known, form):
    plan = planned(tmp_path, area(2, dates=3).mean("t", keep_attrs=True), form, known)
    assert plan.source_bytes == 3 * 2 * 4 * (SIDE**2 + (SIDE // 2) ** 2)
    assert plan.tiles == 0


def test_what_only_a_part_needs_is_not_counted(area, known):
    cube = area(4)
    part = cube.isel(x=slice(0, SIDE), y=slice(0, SIDE))
    assert plan_cube(part, known).source_bytes == 2 * (SIDE**2 + (SIDE // 2) ** 2)


def test_nothing_is_computed(tmp_path, area, known):
    def refuse(*_, **__):
        raise AssertionError("computed")

    cube = area(2)
    with dask.config.set(scheduler=refuse):
        planned(tmp_path, compress_cube(cube, "klt-dct", 5.0), "ZARR", known)


def test_tasks_are_exactly_linear_in_tiles_and_shards(tmp_path, area, known):
    def tasks(side):
        return planned(tmp_path, compress_cube(area(side), "klt-dct", 5.0), "ZARR", known).tasks

    a, b, c = (tasks(side) for side in (4, 8, 12))  # 1, 4 and 9 shards of 16 tiles
    assert (b - a) / 3 == (c - b) / 5 == (c - a) / 8
    assert (b - a) / 3 < 16 * 10


def test_a_hundred_kilometres_plan_in_seconds(tmp_path, area, known):
    cube = area(27, dates=5, bands=BANDS)
    began = time.process_time()
    plan = planned(tmp_path, compress_cube(cube, "klt-dct", 5.0), "ZARR", known)
    assert time.process_time() - began < 10
    assert plan.tiles == 27 * 27 * 5
    assert plan.tasks < 10 * plan.tiles


def test_rates(known):
    assert known.cost("klt-dct", Rate(quality=3)).bits == pytest.approx(0.5)
    assert known.cost("klt-dct", Rate(target_psnr=45)).bits == pytest.approx(0.5)
    assert known.cost("klt-dct", Rate(target_psnr=45)).encode == pytest.approx(4e-8)
    assert known.cost("klt-dct", Rate(target_ratio=32)).bits == pytest.approx(0.5)
    assert known.cost("klt-dct", Rate(max_error=(0.0,))).bits == pytest.approx(6.0)
    assert 2.0 < known.cost("klt-dct", Rate(max_error=(3.0, 3.0))).bits < 6.0
    assert known.cost("klt-dct", Rate(quality=99)).bits == pytest.approx(1.0)
    assert known.cost("nobody", Rate()) is None


def test_vectors_of_models_are_counted(area, known):
    card = get_model_card("s2-embed-small")
    cube = embed_cube(area(2, dates=2, bands=card.bands), card)
    assert plan_cube(cube, known).cpu_seconds is None
    memory = {"process": 300 * MIB, "codec": 50 * MIB, "tile": 200 * MIB}
    plan = plan_cube(
        cube, replace(known, models={card.model_id: {"memory": memory, "embed": 1e-6}})
    )
    assert (plan.tiles, plan.codecs) == (2 * 4, (card.model_id,))
    assert plan.cpu_seconds.value > 8 * 12 * SIDE**2 * 1e-6
    assert plan.memory_bytes > sum(memory.values())


def test_a_codec_that_nobody_measured_has_no_seconds(tmp_path, area, known):
    plan = planned(tmp_path, compress_cube(area(1), "zfp", 5.0), "ZARR", known)
    assert plan.cpu_seconds is None
    assert plan.output_bytes.high == plan.cube_bytes


def test_more_bands_and_strips_need_more_memory(tmp_path, area, known):
    few = planned(tmp_path, compress_cube(area(1), "klt-dct", 5.0), "ZARR", known)
    many = planned(tmp_path, compress_cube(area(2, bands=BANDS), "klt-dct", 5.0), "ZARR", known)
    assert many.thread_bytes == pytest.approx(6 * few.thread_bytes)
    assert few.worker_bytes(2) == few.memory_bytes + few.thread_bytes
    wide = planned(tmp_path, area(8), "GTIFF", known)
    assert wide.thread_bytes >= 2 * 4 * 2 * SIDE * 8 * SIDE


@pytest.mark.parametrize("dates", [None, 32])
def test_dates_that_are_coded_together_need_memory_together_with_a_tile_store_too(
    tmp_path, area, known, dates
):
    """All dates of a window are in the task at once, whoever keeps what it gives."""
    cube, plans = area(2, dates=6), []
    for store in (None, tmp_path / "tiles"):
        with tile_store.used(store):
            plans.append(plan_cube(compress_cube(cube, "klt-dct", 5.0, dates=dates), known))
    plain, kept = plans
    assert kept.thread_bytes == plain.thread_bytes
    alone = plan_cube(compress_cube(cube, "klt-dct", 5.0), known).thread_bytes
    assert kept.thread_bytes == pytest.approx(alone * (1 if dates is None else 6), rel=0.4)


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        (Limits(tasks=10), PlanTooLargeError, "tasks; 10 are allowed"),
        (Limits(worker_bytes=MIB, threads=4), PlanTooLargeError, "4 threads needs about .* MB"),
        (Limits(storage_bytes=10), StorageQuotaExceededError, "there is space for 10 bytes"),
    ],
)
def test_what_cannot_fit_is_refused(tmp_path, area, known, limits, error, message):
    plan = planned(tmp_path, compress_cube(area(2), "klt-dct", 5.0), "ZARR", known)
    check(plan, Limits())
    check(plan, Limits(tasks=10**6, worker_bytes=10**12, storage_bytes=10**12))
    with pytest.raises(error, match=message):
        check(plan, limits)


def test_a_plan_that_might_fit_is_not_refused(tmp_path, area, known):
    plan = planned(tmp_path, compress_cube(area(2), "klt-dct", 5.0), "ZARR", known)
    room = replace(Limits(), storage_bytes=int(plan.output_bytes.low) + 1)
    check(plan, room)


def test_shipped_figures():
    found = measured()
    assert {"klt-dct", "s2l2a-restoration"} <= set(found.codecs)
    for codec in found.codecs:
        bits = [found.cost(codec, Rate(quality=q)).bits for q in (1.0, 3.0, 5.0, 7.0)]
        assert np.all(np.diff(bits) > 0)
        assert found.memory(codec).tile > 0
    for model in found.models:
        assert found.embedding(model) > 0
        assert found.memory(model).tile > 0
