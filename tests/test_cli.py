"""The command line: what it prints, for people and machines, and how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import dask
import fakes
import numpy as np
import pytest
import stac_scenes as scenes
from click.testing import CliRunner
from distributed import LocalCluster

from openeo_nc import list_codecs
from openeo_nc.cli import main
from openeo_nc.codecs.registry import get_card, parse_card
from openeo_nc.cubes.compress import compress_cube
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.store import write_store
from openeo_nc.demo.source import Source
from openeo_nc.errors import CollectionNotFoundError, InvalidParameterError
from openeo_nc.processes.save_result import save_result
from openeo_nc.tables import table


def invoke(*arguments, **environment):
    return CliRunner().invoke(main, list(map(str, arguments)), env=environment)


def test_codecs_lists_every_card_for_people_and_machines():
    shown, listed = invoke("codecs"), invoke("codecs", "--json")
    assert shown.exit_code == listed.exit_code == 0
    found = json.loads(listed.output)
    assert [card["codec_id"] for card in found] == [card.codec_id for card in list_codecs()]
    for card in list_codecs():
        assert card.codec_id in shown.output


def test_typed_errors_are_one_line_without_traceback(tmp_path):
    failed = invoke("inspect", tmp_path)
    assert failed.exit_code == 1
    assert failed.output.startswith("FormatUnsuitable: ")
    assert len(failed.output.splitlines()) == 1


def test_debug_shows_where_a_typed_error_came_from(tmp_path):
    failed = invoke("--debug", "inspect", tmp_path)
    assert failed.exit_code == 1
    assert failed.exception.code == "FormatUnsuitable"


def test_errors_do_not_start_a_traceback_in_a_real_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "openeo_nc.cli", "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("OutputExists: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_refuses_an_output_folder_that_exists(tmp_path):
    graph = tmp_path / "graph.json"
    graph.write_text("{}")
    failed = invoke("run", graph, "--out", tmp_path)
    assert failed.exit_code == 1
    assert failed.output.startswith("OutputExists: ")
    assert [path.name for path in tmp_path.iterdir()] == ["graph.json"]


@pytest.fixture
def graph(tmp_path):
    """A graph that loads three bands of 60 x 60 pixels and saves them compressed."""
    assets = {}
    for index, band in enumerate(("B02", "B03", "B04")):
        values = scenes.numbers(index, 60, 60)
        path = scenes.write_tif(tmp_path / f"{band}.tif", values, scenes.LEFT, scenes.TOP, 10)
        assets[band] = scenes.asset(path, 10)
    item = scenes.item("one", "2022-06-01T10:30:00Z", assets)
    loaded, small = {"from_node": "load"}, {"from_node": "small"}
    nodes = {
        "load": {
            "process_id": "load_stac",
            "arguments": {"url": str(scenes.write_items(tmp_path / "items.json", [item]))},
        },
        "small": {"process_id": "compress_cube", "arguments": {"data": loaded}},
        "save": {
            "process_id": "save_result",
            "arguments": {"data": small, "format": "ZARR"},
            "result": True,
        },
    }
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(nodes))
    return path


def test_run_on_a_given_scheduler_and_inspect(graph, tmp_path):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        ran = invoke("run", graph, "--out", tmp_path / "one", "--scheduler", address, "--json")
        shown = invoke("run", graph, "--out", tmp_path / "two", "--scheduler", address)
    assert ran.exit_code == shown.exit_code == 0, ran.output + shown.output
    (saved,) = json.loads(ran.stdout)
    assert saved["path"] == str(tmp_path / "one/result.zarr")
    assert shown.stdout.splitlines()[2].startswith(str(tmp_path / "two/result.zarr"))
    found = json.loads(invoke("inspect", saved["path"], "--json").stdout)
    assert found["codec"] == "klt-dct"
    assert found["bpppb"] == saved["report"]["bpppb"]
    facts = invoke("inspect", saved["path"]).stdout
    for fact in ("klt-dct", found["weights_sha256"], "2 of 384 x 384", f"{found['bpppb']:.4f}"):
        assert fact in facts


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--stac", "http://x"], "--collection, --bbox, --datetime"),
        (["--bbox", "1,2,3,4"], "--stac, --collection, --datetime"),
    ],
)
def test_demo_wants_all_options_of_real_data(tmp_path, given, says):
    failed = invoke("demo", *given, "--out", tmp_path / "new")
    assert failed.exit_code == 1
    assert says in failed.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("bbox", "when"), [("1,2,3", "a/b"), ("a,b,c,d", "a/b"), ("1,2,3,4", "a")])
def test_real_source_checks_its_options(bbox, when):
    with pytest.raises(InvalidParameterError):
        Source.of(stac="http://x", collection="c", bbox=bbox, datetime=when)


def test_real_source_is_a_collection_of_the_api():
    source = Source.of(
        stac="http://x/v1/",
        collection="c",
        bbox="1,2,3,4",
        datetime="2024-01-01/..",
        bands="B02,B03",
    )
    assert source.url == "http://x/v1/collections/c"
    assert source.temporal_extent == ("2024-01-01", None)
    assert source.bands == ("B02", "B03")
    assert source.notice is None


def test_real_source_is_a_collection_of_a_static_catalogue(tmp_path):
    child = {"rel": "child", "href": "./c/collection.json"}
    root = {"type": "Catalog", "id": "root", "links": [child]}
    (tmp_path / "catalog.json").write_text(json.dumps(root))
    (tmp_path / "c").mkdir()
    (tmp_path / "c/collection.json").write_text(json.dumps({"type": "Collection", "id": "c"}))
    for stac in (tmp_path, tmp_path / "catalog.json"):
        source = Source.of(stac=str(stac), collection="c", bbox="1,2,3,4", datetime="a/b")
        assert source.url == str(tmp_path / "c/collection.json")
    with pytest.raises(CollectionNotFoundError, match="'d'"):
        Source.of(stac=str(tmp_path), collection="d", bbox="1,2,3,4", datetime="a/b")


def test_quality_compares_a_store_with_its_original(tmp_path):
    cube = fakes.cube(dates=1)
    folder = tmp_path / "original"
    with dask.config.set(scheduler="synchronous"):
        write_store(compress_cube(cube, "klt-dct", 5), tmp_path / "store.zarr")
        with output_folder(folder):
            save_result(cube, "GTIFF")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        given = (
            "quality",
            tmp_path / "store.zarr",
            folder,
            "--scheduler",
            cluster.scheduler_address,
        )
        shown = invoke(*given, "--out", tmp_path / "a", "--qualities", "4,5")
        again = invoke(*given, "--out", tmp_path / "b", "--codec", "klt-dct", "--json")
        failed = invoke(*given, "--out", tmp_path / "c", "--qualities", "low")
        taken = invoke(*given, "--out", tmp_path / "a")
    assert shown.exit_code == again.exit_code == 0, shown.output + again.output
    found = json.loads((tmp_path / "a/report.json").read_text())
    assert found["overall"] == json.loads(again.stdout)["overall"]
    assert found["overall"]["bytes"] > 0
    assert "klt-dct" in [curve["codec"] for curve in found["rate_distortion"]]
    for part in ("2022-06-01", f"{found['overall']['psnr']:.2f}", str(tmp_path / "a/report.html")):
        assert part in shown.stdout
    assert (tmp_path / "a/report.html").read_text().startswith("<!doctype html>")
    assert failed.output.startswith("ProcessParameterInvalid: --qualities")
    assert taken.output.startswith("OutputExists: ")


def test_bench_without_data_says_what_to_give():
    failed = invoke("bench", "rate-distortion", OPENEO_NC_SHARED=None)
    assert failed.exit_code == 1
    assert "--data" in failed.output


def test_bench_measures_a_folder_of_tiles(tmp_path):
    import rasterio
    from affine import Affine

    pixels = np.random.default_rng(0).integers(500, 3000, (3, 64, 64)).astype("uint16")
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint16"}
    with rasterio.open(
        tmp_path / "a.tif", "w", crs="EPSG:32631", transform=Affine(10, 0, 0, 0, -10, 0), **profile
    ) as file:
        file.write(pixels)
    arguments = ["bench", "rate-distortion", "--tiles", tmp_path, "--codec", "jpeg2000-bands"]
    shown, listed = invoke(*arguments), invoke(*arguments, "--json")
    assert shown.exit_code == 0, shown.output
    assert "jpeg2000-bands" in shown.output
    start = listed.output.index("{")
    assert {row["codec"] for row in json.loads(listed.output[start:])["tiles"]} == {
        "jpeg2000-bands"
    }


def test_codecs_shows_a_card_with_its_scores_over_training():
    for codec_id in ("s2l2a-restoration", "s2l2a-hyperprior", "klt-dct", "pcodec"):
        shown = invoke("codecs", codec_id)
        assert shown.exit_code == 0, shown.output
        card = get_card(codec_id)
        assert card.title in shown.stdout
        curve = card.evaluation.get("curve", [])
        for row in curve:
            assert re.search(rf"^ *{row['step']}  ", shown.stdout, re.MULTILINE)
        assert ("while it was trained" in shown.stdout) == bool(curve)
        document = json.loads(invoke("codecs", codec_id, "--json").stdout)
        assert parse_card(document) == card
    assert "CodecNotFound" in invoke("codecs", "nonesuch").stderr


@pytest.mark.parametrize("command", ["demo", "run", "codecs", "inspect", "train", "bench"])
def test_every_command_has_help(command):
    shown = invoke(command, "--help")
    assert shown.exit_code == 0
    assert command in shown.output


def test_table_puts_numbers_to_the_right():
    lines = table(("name", "n"), [("a", 5), ("bcd", 1234)]).splitlines()
    assert lines == ["name     n", "----  ----", "a        5", "bcd   1234"]
