"""Fixtures of the tests of UDFs: sessions that end with the test."""

from __future__ import annotations

import secrets
from dataclasses import replace

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from openeo_nc.udf import pool
from openeo_nc.udf.limits import Limits, Rules, ruled


@pytest.fixture(scope="module")
def session():
    """Rules of one session, which the tests of a module share as those of a job would."""
    rules = Rules(session=secrets.token_hex(4), limits=Limits(seconds=60.0))
    with dask.config.set(scheduler="synchronous"):
        yield rules
    pool.end(rules.session)


@pytest.fixture
def within(session):
    """The session's rules in force."""
    with ruled(session):
        yield session


@pytest.fixture
def limited():
    """Makes rules of sessions of their own, with other limits."""
    made = []

    def rules(**limits):
        made.append(Rules(session=secrets.token_hex(4), limits=replace(Limits(), **limits)))
        return made[-1]

    yield rules
    for one in made:
        pool.end(one.session)


@pytest.fixture
def cube():
    """A cube `(t, bands, y, x)` float32 in chunks, in EPSG:32633."""
    values = np.random.default_rng(1).random((3, 2, 20, 30), np.float32)
    made = xr.DataArray(
        values,
        dims=("t", "bands", "y", "x"),
        coords={
            "t": pd.date_range("2024-05-01", periods=3).astype("datetime64[ns]"),
            "bands": ["B04", "B08"],
            "y": 5_000_000.0 - 10 * np.arange(20),
            "x": 500_000.0 + 10 * np.arange(30),
        },
    )
    return made.rio.write_crs(32633).chunk({"t": 1, "bands": -1, "y": 10, "x": 16})
