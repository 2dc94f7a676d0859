"""The demonstration as a whole, on a small scene: what it leaves, and that the numbers are true."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from openeo_nc.cli import main
from openeo_nc.cubes.inspect import inspect_store
from openeo_nc.demo import rates, run, scene
from openeo_nc.demo.source import fill, load_item, source_graph
from openeo_nc.errors import InvalidParameterError, OutputExistsError
from openeo_nc.graphs import execute, validate
from openeo_nc.tables import demo_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "HEIGHT", 180)
        patch.setattr(scene, "WIDTH", 240)
        patch.setattr(rates, "LEVELS", 2)
        ran = CliRunner().invoke(main, ["demo", "--out", str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    return out, json.loads(ran.stdout)


def test_the_table_has_the_reports_numbers(done):
    out, report = done
    *_, last, where = demo_table(report, out).splitlines()
    assert last.split()[:2] == ["all", str(report["total"]["bytes"])]
    assert where == f"report: {out / 'report.html'}"


def test_everything_is_left(done):
    out, report = done
    names = {path.name for path in out.iterdir()}
    assert names >= {"scene", "compress.json", "embed.json", "decode.json", "compressed.zarr"}
    assert names >= {"embedding.zarr", "decoded.zarr", "report.json", "report.html"}
    assert json.loads((out / "report.json").read_text()) == report
    assert (out / report["files"]["item"]).is_file()


def test_it_says_that_the_scene_is_synthetic(done):
    out, report = done
    assert report["notice"] == scene.NOTICE
    assert scene.NOTICE in (out / "report.html").read_text()


def test_left_graphs_are_valid_and_load_what_was_compressed(done):
    out, _ = done
    for name in ("compress", "embed", "decode"):
        assert validate(json.loads((out / f"{name}.json").read_text())) == []
    cube = execute(source_graph(json.loads((out / "compress.json").read_text())))
    assert cube.sizes == {"t": 3, "bands": 12, "y": 180, "x": 240}


def test_reported_psnr_is_that_of_the_store_in_plain_xarray(done):
    out, report = done
    original = execute(source_graph(json.loads((out / "compress.json").read_text())))
    restored = xr.open_zarr(out / "compressed.zarr")["data"].sel(x=original.x, y=original.y)
    for date, row in enumerate(report["dates"]):
        # one tile a date: the tile's PSNR is the date's
        a, b = (np.clip(c[date].values.astype(float), 0, 1) for c in (original, restored))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        expected = -10 * np.log10(np.nanmean((a - b) ** 2))
        assert row["psnr_db"] == pytest.approx(expected, abs=0.01)
        assert row["valid_share"] == pytest.approx(np.isfinite(a).mean())
    assert report["dates"][2]["valid_share"] < 1
    assert min(row["psnr_db"] for row in report["dates"]) > 35


def test_reported_bytes_are_the_stores(done):
    out, report = done
    store = inspect_store(out / "compressed.zarr")
    assert report["total"]["bytes"] == store.arrays[0].bytes
    assert report["total"]["bpppb"] == pytest.approx(store.bpppb)
    assert sum(row["bytes"] for row in report["dates"]) == report["total"]["bytes"]
    assert report["total"]["ratio"] > 5


def test_ratio_to_native_resolution_counts_each_band_once(done):
    _, report = done
    share = (4 + 6 / 4 + 2 / 36) / 12
    total = report["total"]
    assert total["native_ratio"] == pytest.approx(total["ratio"] * share)


def test_embedding_decodes_to_the_same_scene(done):
    out, report = done
    found = report["embedding"]
    assert found["decoded_psnr_db"] > 33
    cube = execute(load_item({"path": out / "embedding.zarr"}))
    assert list(cube.shape) == found["shape"]
    assert cube.dims == ("t", "embedding", "y", "x")


def test_curves_have_both_codecs_and_rise(done):
    _, report = done
    curves = {curve["name"]: curve["points"] for curve in report["rate_distortion"]["curves"]}
    assert {"klt-dct", "s2l2a-hyperprior"} <= set(curves)
    assert {"jpeg2000-bands", "jpeg2000-components", "klt-jpeg2000-joint"} <= set(curves)
    for points in curves.values():
        assert [p["psnr_db"] for p in points] == sorted(p["psnr_db"] for p in points)
        assert [p["bpppb"] for p in points] == sorted(p["bpppb"] for p in points)


def test_an_existing_folder_is_not_touched(tmp_path):
    with pytest.raises(OutputExistsError):
        run.run_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_nothing(tmp_path):
    source = run.Source(
        url=str(tmp_path / "absent.json"),
        spatial_extent={"west": 0, "south": 0, "east": 1, "north": 1},
        temporal_extent=("2024-01-01", None),
        bands=("B02",),
        notice=None,
    )
    with pytest.raises(InvalidParameterError):
        run.run_demo(tmp_path / "out", source=source)
    assert list(tmp_path.iterdir()) == []


def test_graphs_are_filled_completely(tmp_path):
    source = run.Source(
        url="u", spatial_extent={}, temporal_extent=("a", None), bands=("B02",), notice=None
    )
    for name, extra in (("compress", {}), ("embed", {"model": "m"}), ("decode", {"item": "i"})):
        assert "from_parameter" not in json.dumps(fill(name, source, quality=None, **extra))
