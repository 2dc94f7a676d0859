"""The speed benchmark: what it counts as a pixel, what a stage holds, and what it prints."""

from __future__ import annotations

import time

import numpy as np
import pytest
from click.testing import CliRunner

from openeo_nc.benchmarks import speed, stages
from openeo_nc.benchmarks.speed_output import table
from openeo_nc.cli import main
from openeo_nc.codecs.registry import list_codecs
from openeo_nc.errors import CodecNotFoundError, InvalidParameterError


class Nested:
    """An outer stage that calls an inner one twice."""

    def outer(self):
        time.sleep(0.02)
        self.inner()
        self.inner()

    def inner(self):
        time.sleep(0.02)

    def lost(self):
        raise ValueError("lost")


def test_a_stage_is_what_it_takes_without_the_stages_inside():
    watch = stages.Stopwatch()
    wanted = [
        stages.Stage(name=name, owner=f"{__name__}:Nested", methods=methods)
        for name, methods in (("outer", ("outer", "lost")), ("inner", ("inner",)))
    ]
    original = Nested.outer
    with watch.on(wanted):
        Nested().outer()
        with pytest.raises(ValueError, match="lost"):
            Nested().lost()
        Nested().inner()
    assert Nested.outer is original
    seconds = watch.exclusive()
    assert seconds["inner"] >= 3 * 0.02
    assert 0.02 <= seconds["outer"] < seconds["inner"]


def test_stages_are_of_codecs_with_latents_and_exist():
    assert stages.stages_of("klt-jpeg2000-joint") == ()
    for card in list_codecs():
        with stages.Stopwatch().on(stages.stages_of(card.codec_id)):
            pass
    assert {stage.name for stage in stages.stages_of("klt-dct")} == {"contexts", "symbols"}
    assert "networks" in {stage.name for stage in stages.stages_of("s2l2a-hyperprior")}


def test_tiles_are_whole():
    x = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    assert speed.whole(x).shape == (2, speed.SIDE, speed.SIDE)
    np.testing.assert_array_equal(speed.whole(x)[:, :5, :7], x)
    np.testing.assert_array_equal(speed.whole(x)[:, 5], speed.whole(x)[:, 4])
    assert speed.whole(np.zeros((1, 500, 400))).shape == (1, speed.SIDE, speed.SIDE)


def test_report_and_table():
    tiles = [np.random.default_rng(i).integers(0, 4000, (3, 48, 48), np.uint16) for i in range(2)]
    task = speed.Task(codecs=("klt-dct", "klt-jpeg2000-joint"), quality=3.0, tiles=tiles)
    speeds, shares = speed.measure(task, 1)
    assert {r["workers"] for r in speeds} == set(speed.WORKERS)
    assert len(speeds) == 2 * 2 * 3
    assert all(r["mpix_s"] > 0 and r["mpix_core_s"] > 0 for r in speeds)
    for operation in speed.OPERATIONS:
        rows = [r for r in shares if (r["codec"], r["operation"]) == ("klt-dct", operation)]
        assert {r["stage"] for r in rows} == {"contexts", "symbols", "rest"}
        assert sum(r["share"] for r in rows) == pytest.approx(1)
        assert all(r["seconds"] > 0 for r in rows)
    report = {
        "machine": speed.machine(), "versions": {}, "quality": 3.0, "rounds": 1,
        "tiles": ["a", "b"], "shape": [3, 48, 48], "speeds": speeds, "stages": shares,
    }  # fmt: skip
    text = table(report)
    assert "2 tiles of 3 x 48 x 48" in text
    assert "klt-jpeg2000-joint" in text


def test_bad_input(tmp_path):
    with pytest.raises(InvalidParameterError, match="Neither"):
        speed.run(codecs=("klt-dct",))
    failed = CliRunner().invoke(main, ["bench", "speed", "--tiles", str(tmp_path)])
    assert failed.exit_code == 1
    assert failed.output.startswith("NoDataAvailable")


@pytest.mark.realdata
def test_unknown_codecs_are_refused_before_anything_runs(shared_data):
    with pytest.raises(CodecNotFoundError, match="nothing"):
        speed.run(shared_data, codecs=("nothing",), progress=False)
