"""Ledgers: another attempt at a store computes what is missing, and ends with the same store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dask
import fakes
import numpy as np
import pytest
import xarray as xr

from openeo_nc.codecs import loading
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.encode import encode_cube
from openeo_nc.cubes.inspect import RECORD
from openeo_nc.cubes.ledger import Written, fingerprint
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.store import plan_store
from openeo_nc.processes.save_result import save_result


@pytest.fixture(autouse=True)
def _fresh(codecs):
    loading._codecs.clear()
    yield
    loading._codecs.clear()


class Memory:
    """A ledger in memory."""

    def __init__(self):
        self.rows = {}

    def written(self, output, fingerprint):
        found = {k: w for k, w in self.rows.items() if w.fingerprint == fingerprint}
        return {key: w for key, w in found.items() if w.output == output and w.path()}

    def compute(self, plans, objects):
        raise AssertionError("plans are computed by the tests")

    def record(self, *written):
        self.rows |= {w.key: w for w in written}


def content(path, without=("item.json", RECORD)):
    files = {str(p.relative_to(path)): p for p in Path(path).rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in files.items() if name not in without}


def record_of(path):
    found = json.loads((path / RECORD).read_text())
    return {name: value for name, value in found.items() if name != "write"}


def cubes():
    cube = fakes.cube(64, 64, dates=2)
    return {
        "pixels": compress_cube(cube, "fake-rgb", 5.0),
        "latents": encode_cube(cube, "fake-rgb", 5.0),
        "plain": cube.chunk({"y": 32, "x": 32}),
    }


@pytest.mark.parametrize("kind", ["pixels", "latents", "plain"])
@pytest.mark.parametrize("done", [0, 1, 3, -1])
def test_only_missing_objects_are_computed(tmp_path, monkeypatch, codecs, kind, done):
    monkeypatch.setattr("openeo_nc.cubes.plain.SIDE", 32)
    cube = cubes()[kind]
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    ledger = Memory()
    whole = plan_store(cube, tmp_path / "whole.zarr", shard_tiles=2)
    dask.compute(whole.report)
    first = plan_store(cube, tmp_path / "1" / "s.zarr", shard_tiles=2, ledger=ledger)
    ledger.record(*dask.compute(*first.objects[: done if done >= 0 else None]))
    kept = len(ledger.rows)

    second = plan_store(cube, tmp_path / "2" / "s.zarr", shard_tiles=2, ledger=ledger)
    assert len(second.objects) == len(first.objects)
    codecs.calls.clear()
    written = dask.compute(*second.objects)
    assert done != -1 or not {"encode", "analyse", "pack"} & set(codecs.calls)
    ours = tmp_path / "2"
    assert sum(w.kept for w in written) == kept
    assert all(ours in w.path().parents for w in written)
    dask.compute(second.report)
    assert content(tmp_path / "2" / "s.zarr") == content(tmp_path / "whole.zarr")
    assert record_of(tmp_path / "2" / "s.zarr") == record_of(tmp_path / "whole.zarr")
    assert all(w.path() == ours / "s.zarr" / w.key for w in written if w.bytes)


def test_nothing_is_read_or_encoded_for_a_store_that_is_all_there(tmp_path):
    touched = []

    def touch(block):
        touched.append(1)
        return block

    cube = fakes.cube(64, 64, dates=1)
    cube = cube.copy(data=cube.data.map_blocks(touch, dtype=cube.dtype, meta=np.empty((0,) * 4)))
    compressed = compress_cube(cube, "fake-rgb", 5.0)
    ledger = Memory()
    first = plan_store(compressed, tmp_path / "s.zarr", shard_tiles=2, ledger=ledger)
    ledger.record(*dask.compute(*first.objects))
    assert touched
    touched.clear()
    second = plan_store(compressed, tmp_path / "2.zarr", shard_tiles=2, ledger=ledger)
    assert ledger.written("2.zarr", next(iter(ledger.rows.values())).fingerprint) == {}
    (tmp_path / "again").mkdir()
    second = plan_store(compressed, tmp_path / "again" / "s.zarr", shard_tiles=2, ledger=ledger)
    dask.compute(second.report)
    assert touched == []


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_object_that_is_not_what_it_was_is_computed_again(tmp_path, damage):
    cube = cubes()["pixels"]
    ledger = Memory()
    first = plan_store(cube, tmp_path / "s.zarr", shard_tiles=2, ledger=ledger)
    ledger.record(*dask.compute(*first.objects))
    victim = next(iter(ledger.rows.values()))
    if damage == "gone":
        victim.path().unlink()
    else:
        victim.path().write_bytes(b"half")
    (tmp_path / "2").mkdir()
    second = plan_store(cube, tmp_path / "2" / "s.zarr", shard_tiles=2, ledger=ledger)
    again = [w.key for w in dask.compute(*second.objects) if not w.kept]
    assert again == [victim.key]


def test_objects_of_another_cube_do_not_count(tmp_path):
    ledger = Memory()
    first = plan_store(cubes()["pixels"], tmp_path / "s.zarr", ledger=ledger)
    ledger.record(*dask.compute(*first.objects))
    (tmp_path / "2").mkdir()
    other = compress_cube(fakes.cube(64, 64, dates=2), "fake-rgb", 4.0)
    second = plan_store(other, tmp_path / "2" / "s.zarr", ledger=ledger)
    assert not any(w.kept for w in dask.compute(*second.objects))


def test_an_object_is_found_where_its_store_was_published(tmp_path):
    cube = cubes()["pixels"]
    plan = plan_store(cube, tmp_path / "s.zarr")
    written = dask.compute(*plan.objects)
    assert all(plan.staging.folder in w.path().parents for w in written)
    dask.compute(plan.report)
    assert all(w.path() == tmp_path / "s.zarr" / w.key for w in written)


_PRINT = """
import fakes
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.store import plan_store
from openeo_nc.processes.save_result import save_result
marks = []
class Asked:
    def written(self, output, fingerprint):
        marks.append(fingerprint)
        return {}
with fakes.codecs_installed():
    cube = fakes.cube()
    for one in (compress_cube(cube, "fake-rgb", 5.0), compress_cube(cube, "klt-dct", max_error=3), cube):
        plan_store(one, "/nowhere/s.zarr", ledger=Asked())
print(*marks)
"""


def test_fingerprints_are_the_same_in_every_process():
    def marks(seed):
        done = subprocess.run(
            [sys.executable, "-c", _PRINT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    first = marks("1")
    assert first == marks("2")
    assert len(set(first)) == 3
    assert fingerprint(1, "a") != fingerprint(1, "b")


def test_a_size_that_differs_is_not_there(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    one = Written(output="o", fingerprint="f", key="x", bytes=3, places=(tmp_path / "no", path))
    assert one.path() == path
    path.write_bytes(b"ab")
    assert one.path() is None


@pytest.mark.parametrize("form", ["GTIFF", "NETCDF"])
def test_finished_files_are_kept(tmp_path, form):
    ledger = Memory()
    cube = fakes.cube(40, 40, dates=2)

    def attempt(name):
        with output_folder(tmp_path / name, exist_ok=True, ledger=ledger) as outputs:
            save_result(cube, form)
            plans, objects = list(outputs.plans), list(outputs.objects)
            outputs.plans.clear()
        (tmp_path / name).mkdir()
        return plans, objects

    _, objects = attempt("1")
    ledger.record(*dask.compute(*objects[:1]))
    plans, objects = attempt("2")
    saved, *written = dask.compute(*plans, *objects)
    assert [w.kept for w in written] == ([True, False] if form == "GTIFF" else [True])
    assert saved.bytes == sum(file.stat().st_size for file in saved.files)
    opened = xr.open_dataset(saved.files[0], engine={"GTIFF": "rasterio"}.get(form, "netcdf4"))
    assert opened.sizes["x"] == 40
