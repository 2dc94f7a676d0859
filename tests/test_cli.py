"""The command line: what it prints, for people and machines, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from openeo_nc import list_codecs
from openeo_nc.cli import main
from openeo_nc.demo.source import Source
from openeo_nc.errors import InvalidParameterError
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


def test_bench_without_data_says_what_to_give():
    failed = invoke("bench", "rate-distortion", OPENEO_NC_SHARED=None)
    assert failed.exit_code == 1
    assert "--data" in failed.output


def test_bench_measures_a_folder_of_tiles(tmp_path):
    pytest.importorskip("imagecodecs", reason="the extra bench is not installed")
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


@pytest.mark.parametrize("command", ["demo", "run", "codecs", "inspect", "train", "bench"])
def test_every_command_has_help(command):
    shown = invoke(command, "--help")
    assert shown.exit_code == 0
    assert command in shown.output


def test_table_puts_numbers_to_the_right():
    lines = table(("name", "n"), [("a", 5), ("bcd", 1234)]).splitlines()
    assert lines == ["name     n", "----  ----", "a        5", "bcd   1234"]
