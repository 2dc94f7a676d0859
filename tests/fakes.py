"""Fakes for cube and process tests: a counting codec, small cubes, a scheduler that raises.

The codec lives in `fake_site/`, a site folder with one distribution whose entry point names the
codec package, so it is found exactly as a codec of another distribution is. Worker processes that
are spawned while `codecs_installed` is open inherit the path and find it too.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers DataArray.rio
import xarray as xr
from affine import Affine

SITE = Path(__file__).with_name("fake_site")
RGB = ("B02", "B03", "B04")


@contextmanager
def codecs_installed():
    """Within it, `fake-any` and `fake-rgb` are registered codecs; gives the module that counts."""
    sys.path.insert(0, str(SITE))
    _forget()
    try:
        blocks = importlib.import_module("fake_codecs.blocks")
        blocks.calls.clear()
        blocks.loads.clear()
        yield blocks
    finally:
        sys.path.remove(str(SITE))
        _forget()


def _drain(seconds=10):
    """Wait for reads that a test left under way: they would fill caches while these are emptied."""
    from zarr.core import sync

    async def others():
        return len(asyncio.all_tasks()) - 1

    loop, deadline = sync.loop[0], time.monotonic() + seconds
    while loop is not None and time.monotonic() < deadline:
        if not asyncio.run_coroutine_threadsafe(others(), loop).result(seconds):
            return
        time.sleep(0.005)


def _forget():
    from openeo_nc.codecs import packages, registry
    from openeo_nc.inference import cache

    _drain()
    importlib.invalidate_caches()
    packages.packages.cache_clear()
    registry._cards.cache_clear()
    for opened in (registry._opened, cache._codecs):
        for key in [k for k in opened if _codec_id(k).startswith("fake-")]:
            del opened[key]


def _codec_id(key):
    return key[0] if isinstance(key, tuple) else key.codec_id


def raising_scheduler(dsk, keys, **kwargs):
    """A Dask scheduler for building graphs: anything that computes fails."""
    raise AssertionError("a graph was computed while it was being built")


def cube(
    height=40, width=36, *, bands=RGB, dates=2, dtype="uint16", x0=600_000.0, y0=5_000_000.0,
    res=10.0, nodata=None, seed=0, chunks=None, crs="EPSG:32631",
):  # fmt: skip
    """A dask-backed raster cube of random reflectances x 10000; (x0, y0) is its top left corner."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 10_000, (dates, len(bands), height, width)).astype(dtype)
    array = xr.DataArray(
        da.from_array(values, chunks=chunks or (1, len(bands), 17, 19)),
        dims=("t", "bands", "y", "x"),
        coords={
            "t": pd.date_range("2022-06-01", periods=dates, freq="5D"),
            "bands": list(bands),
            "y": y0 - res * (np.arange(height) + 0.5),
            "x": x0 + res * (np.arange(width) + 0.5),
        },
        name="reflectance",
    )
    if nodata is not None:
        array.attrs["_FillValue"] = nodata
    return array.rio.write_crs(crs).rio.write_transform(Affine(res, 0, x0, 0, -res, y0))
