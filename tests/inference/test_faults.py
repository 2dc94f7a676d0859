"""What goes wrong around inference costs time, or is told; it never changes a result."""

from __future__ import annotations

import os
import signal
import time

import fakes
import numpy as np
import pytest

from openeo_nc import errors
from openeo_nc.cubes.compress import compress_cube


@pytest.fixture
def codecs():
    with fakes.codecs_installed() as blocks:
        yield blocks


def with_blocks(cube, function):
    """The cube, each of whose blocks goes through a function as it is read."""
    return cube.copy(data=cube.data.map_blocks(function, dtype=cube.dtype, meta=cube.data._meta))


def killing_once(block, mark):
    """Kills its worker the first time that a tile was decoded; others are being coded then."""
    if not os.path.exists(mark):
        with open(mark, "w", encoding="utf-8"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return block


@pytest.mark.slow
def test_a_worker_killed_while_it_encodes_costs_no_result(codecs, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    mark = str(tmp_path / "killed")
    monkeypatch.setenv("FAKE_CODEC_LOG", str(tmp_path / "log"))
    cube = fakes.cube(dates=1)
    compressed = compress_cube(cube, "fake-rgb")
    meta = np.empty((0,) * 4, "uint16")  # Dask would try the function out for it, here
    fatal = compressed.data.map_blocks(killing_once, mark, dtype="uint16", meta=meta)
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        found = client.compute(fatal).result(timeout=120)
    np.testing.assert_array_equal(found, cube)
    assert os.path.exists(mark)
    workers = {line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}
    assert len(workers) == 2


def test_a_source_that_fails_is_told_and_nothing_else_is_made_of_it(codecs):
    def failing(block):
        raise OSError("the store does not answer")

    cube = compress_cube(with_blocks(fakes.cube(), failing), "fake-rgb")
    with pytest.raises(OSError, match="does not answer"):
        cube.compute(scheduler="threads")
    assert not codecs.calls["pack"]


def test_a_slow_source_holds_up_only_its_own_tiles(codecs):
    def slow(block):
        time.sleep(0.05 * float(block.max() > 9_990))
        return block

    cube = fakes.cube()
    found = compress_cube(with_blocks(cube, slow), "fake-rgb").compute(scheduler="threads")
    np.testing.assert_array_equal(found, cube)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_tiles_without_data_stay_without(codecs, dtype):
    cube = fakes.cube(dtype=dtype, nodata=0 if dtype == "uint16" else None)
    gone = np.zeros(cube.shape, bool)
    gone[:, :, :16, :16] = True  # a whole tile
    gone[0, 1, 20:30, 5:9] = True
    missing = 0 if dtype == "uint16" else np.nan
    given = cube.copy(data=cube.data.map_blocks(lambda block: block))
    given = given.where(~gone, missing).astype(dtype).assign_attrs(cube.attrs)
    found = compress_cube(given, "fake-rgb").compute(scheduler="threads").values
    there = found == 0 if dtype == "uint16" else np.isnan(found)
    np.testing.assert_array_equal(there, gone)


def test_a_tile_that_cannot_be_coded_is_named(codecs):
    cube = fakes.cube(dtype="float32")
    values = cube.values
    values[1, 0, 20, 20] = np.inf
    cube = cube.copy(data=values)
    with pytest.raises(errors.InvalidValuesError, match="date 1, row 1, column 1"):
        compress_cube(cube, "fake-rgb").compute(scheduler="threads")
