"""Fixtures of all tests, and the thread limits that keep runs comparable on small machines."""

from __future__ import annotations

import os
from pathlib import Path

# Before NumPy or torch start their pools; two test runs on one machine then do not fight.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest

_REPOSITORY = Path(__file__).resolve().parents[1]


def _shared_folder() -> Path:
    given = os.environ.get("OPENEO_NC_SHARED")
    return Path(given) if given else _REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder (data/, schemas/); skips, saying why, where it is not at hand."""
    folder = _shared_folder()
    if not (folder / "data" / "manifest.json").is_file():
        pytest.skip(
            f"no shared data: {folder}/data/manifest.json is not there "
            "(set OPENEO_NC_SHARED to the folder that holds data/)"
        )
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Folder of the shared real data: manifest.json, s2/, stac/."""
    return shared / "data"
