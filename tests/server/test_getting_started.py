"""The scripts in docs/getting-started.md run as they stand there, against a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import USERS

from openeo_nc.server.settings import Settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "getting-started.md"


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_scripts_run(url, tmp_path):
    text = GUIDE.read_text(encoding="utf-8")
    assert f"`{USERS['ada']}`" in text
    scripts = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    code = "\n".join(scripts).replace("http://127.0.0.1:8080", url)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The job was created." in done.stdout
    assert (tmp_path / "compressed.tif").is_file()
    assert (tmp_path / "results" / "result.zarr.zip").is_file()


def test_settings_exist():
    named = set(re.findall(r"OPENEO_NC_([A-Z_]+)", GUIDE.read_text(encoding="utf-8")))
    assert named <= {name.upper() for name in Settings.model_fields}
