"""Fixtures of the process tests."""

from __future__ import annotations

import dask
import fakes
import pytest


@pytest.fixture
def codecs():
    """The fake codecs, registered; gives the module that counts their calls."""
    with fakes.codecs_installed() as blocks, dask.config.set(scheduler="synchronous"):
        yield blocks
