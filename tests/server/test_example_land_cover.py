"""docs/example-land-cover.md runs as it stands there, against a server with real data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import serving
from matplotlib import image
from realdata import land_cover

from openeo_nc.server.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example-land-cover.md"
TEXT = EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.realdata
def test_the_example_runs_and_prints_what_it_says(shared_data, settings, tmp_path):
    root = land_cover.build(shared_data, tmp_path / "places")
    chosen = settings.model_copy(
        update={
            "data": tmp_path / "data",
            "catalogues": (str(root),),
            "private_hosts": ("127.0.0.1",),
        }
    )
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))
    with serving(chosen) as url:
        done = subprocess.run(
            [sys.executable, "-c", code.replace("http://127.0.0.1:8080", url)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if "pixels right" in line]
    stated = re.findall(r"^    (\w+: .* pixels right; .*)$", TEXT, flags=re.MULTILINE)
    assert len(printed) == len(stated) == 2
    for line, said in zip(printed, stated, strict=True):
        assert re.sub(r"0\.\d\d", "", line) == re.sub(r"0\.\d\d", "", said), printed
        for number, told in zip(
            *(re.findall(r"0\.\d\d", one) for one in (line, said)), strict=True
        ):
            assert abs(float(number) - float(told)) < 0.05, printed
    picture = image.imread(tmp_path / "land-cover.png")
    assert len({tuple(pixel) for pixel in picture[100:700:10, 50:350:10, :3].reshape(-1, 3)}) > 3


def test_its_settings_exist():
    named = set(re.findall(r"OPENEO_NC_([A-Z_]+)", TEXT))
    assert named <= {name.upper() for name in Settings.model_fields}
