"""Benchmarks of inference at scale: every way computes the same, and reports print."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from openeo_nc.benchmarks import files_way, gpu, overhead, profile, scaling
from openeo_nc.benchmarks.workloads import Encoded, Payloads, cube_of, scene, write_cube
from openeo_nc.cli import main
from openeo_nc.cubes.tile_graph import per_pixel
from openeo_nc.errors import InvalidParameterError


@dataclass(frozen=True, kw_only=True)
class Halves:
    """A model that keeps every other pixel."""

    name: str = "embedding"
    side: int = 128

    def open(self):
        return 2

    def apply(self, model, tile):
        return tile[:, ::model, ::model].astype("f4")

    def ours(self, cube):
        return per_pixel("half", _half, [cube.data], (), np.dtype("f4"), 12, self.side // 2)


def _half(block):
    return block[:, :, ::2, ::2].astype("f4")


FAKE = {"embedding": Halves()}


@pytest.fixture
def path(tmp_path):
    return write_cube(tmp_path, 256, 256)


def test_every_way_computes_the_same(path, tmp_path):
    pixels = zarr.open_array(path)[0]
    expected = pixels[:, ::2, ::2].astype("f4")
    work = Halves()
    bare = overhead.bare_loop(work, path)
    assert len(bare) == 4
    np.testing.assert_array_equal(bare[2], expected[:, 64:, :64])
    ours = overhead.computed(work, cube_of(path, 128), scheduler="synchronous")
    np.testing.assert_array_equal(ours[0], expected)
    cells = overhead._kept(pixels[None, :, :128, :128], work)
    np.testing.assert_array_equal(cells.item(), expected[:, :64, :64])


@pytest.mark.slow
def test_the_way_of_files_computes_the_same(path, tmp_path, monkeypatch):
    """In this process: the subprocess would not find the model of a test."""

    def predict(workload, given, made, names):
        files_way.main(workload, given, made)
        return True

    monkeypatch.setattr(files_way, "_predict", predict)
    found = files_way.run(Halves(), cube_of(path, 128), tmp_path / "files")
    np.testing.assert_array_equal(found.values, zarr.open_array(path)[0, :, ::2, ::2])
    assert found.dims == ("embedding", "y", "x")


def test_sides_that_are_no_whole_chunks_are_refused(tmp_path):
    with pytest.raises(InvalidParameterError, match="multiples of 128"):
        write_cube(tmp_path, 100, 256)


def test_scenes_are_reflectances_that_compress_like_some():
    pixels = scene(96, 128)
    assert pixels.shape == (12, 96, 128)
    assert pixels.dtype == np.uint16
    neighbours = np.corrcoef(pixels[:, :, 1:].ravel(), pixels[:, :, :-1].ravel())[0, 1]
    assert 0.5 < neighbours < 1


@pytest.mark.slow
def test_overhead_reports_every_way(monkeypatch):
    monkeypatch.setattr(overhead, "_through_files", lambda *_: None)
    report = overhead.run(["embedding"], tiles=2, rounds=1, given=FAKE, progress=False)
    ways = [row["way"] for row in report["rows"]]
    assert ways == [
        "bare loop", "map_blocks", "ours, threads", "ours, LocalCluster", "naive UDF", "files"
    ]  # fmt: skip
    assert report["rows"][0]["ratio"] == 1
    assert "ours, LocalCluster" in overhead.table(report)


def test_unknown_workloads_are_refused():
    for benchmark in (overhead, scaling):
        with pytest.raises(InvalidParameterError, match="no workload nothing"):
            benchmark.run(["nothing"], given=FAKE, progress=False)
    with pytest.raises(InvalidParameterError, match="no workload 'nothing'"):
        profile.run("nothing", given=FAKE)


@pytest.mark.slow
def test_memory_of_a_worker_does_not_grow_with_the_area(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "GROWTH", (1, 12))
    memory = scaling.measure_memory(Halves(side=512), tmp_path, tiles=8)
    few, many = memory["peaks"].values()
    assert list(memory["peaks"]) == [8, 96]
    area = 96 * memory["tile_bytes"]
    assert area > 600e6  # a half of it a worker, and a half of that its results
    assert many - few < area / 8
    seconds = {"1 worker, n": 1.0, "1 worker, 2n": 2.0, "2 workers, 2n": 1.25}
    row = {"workload": "embedding", "seconds": seconds, "weak": 0.8, "strong": 0.8}
    machine = {"cpu": "a CPU", "cores": 2, "system": "a system"}
    report = {"machine": machine, "rounds": 1, "tiles": 2, "rows": [row], "memory": [memory]}
    assert "highest memory" in scaling.table(report)


def test_a_profile_names_modules_and_is_drawn(tmp_path):
    report = profile.run("embedding", tiles=1, given=FAKE)
    assert "dask" in report["modules"]
    assert list(report["modules"].values()) == sorted(report["modules"].values(), reverse=True)
    assert "under the profiler" in profile.table(report)
    profile.draw(report, tmp_path / "a.png", report)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_encoder_embeds_as_a_task_what_it_embeds_alone(tmp_path):
    from openeo_nc.inference.yardstick import Sizes

    work = Encoded.made(tmp_path, Sizes(side=128, width=32, depth=1, heads=2))
    path = write_cube(tmp_path, 128, 256)
    alone = overhead.bare_loop(work, path)
    ours = overhead.computed(work, cube_of(path, 128), scheduler="synchronous")
    assert ours.shape == (1, 32, 8, 16)
    np.testing.assert_allclose(ours[0], np.concatenate(alone, axis=-1), atol=1e-5)


def test_payloads_are_those_of_the_codec(tmp_path):
    work = Payloads(side=384)
    tile = scene(64, 64)
    assert work.apply(work.open(), tile) == work.open().encode(tile)


def test_without_a_gpu_the_command_says_so():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    result = CliRunner().invoke(main, ["bench", "gpu"])
    assert result.exit_code == 1
    assert "DeviceUnavailable: There is no device 'cuda' here" in result.output


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(monkeypatch):
    from openeo_nc.inference import bare, yardstick

    for module in (bare, yardstick):
        monkeypatch.setattr(module, "timed", lambda call, device: call() is None or 1.0)
    report = gpu.run("cpu", tiles=2, side=128, batch=2, rounds=1, compiled=False)
    assert set(report["mpix_s"]) == {"bare analysis", "bare synthesis", "encode", "decode"}
    assert {v["variant"] for v in report["variants"]} == {"float32", "bfloat16", "float16"}
    full = [v for v in report["variants"] if v["variant"] == "float32"]
    assert all(v["difference"] == 0 for v in full)
    assert "of bare network" in gpu.table(report)
