"""Fixtures of the cube tests."""

from __future__ import annotations

import dask
import fakes
import pytest
import stac_scenes as scenes
from embedding_schemas import schemas  # noqa: F401  a fixture
from granules import forbidden, scene

from openeo_nc.cubes import reader


@pytest.fixture
def codecs():
    """The fake codecs, registered; gives the module that counts their calls."""
    with fakes.codecs_installed() as blocks, dask.config.set(scheduler="synchronous"):
        yield blocks


@pytest.fixture
def building():
    """A context within which nothing may compute."""
    return lambda: dask.config.set(scheduler=fakes.raising_scheduler)


@pytest.fixture
def items(tmp_path):
    """Two granules side by side, the first with a second date."""
    return [
        scene(tmp_path, "west", "2022-06-01T10:50:31Z", edge=6),
        scene(tmp_path, "east", "2022-06-01T10:50:41Z", column=1),
        scene(tmp_path, "late", "2022-06-06T10:50:31Z"),
    ]


@pytest.fixture
def url(tmp_path, items):
    return str(scenes.write_collection(tmp_path / "collection", items))


@pytest.fixture
def unread(monkeypatch):
    """Makes reading any pixel a failure."""

    def forbid():
        monkeypatch.setattr(reader.BandReader, "read", forbidden)

    return forbid
