"""Tasks added one by one: what they give, and that there may be many."""

from __future__ import annotations

import gc
import time

import dask.array as da
import numpy as np
from dask.base import compute

from openeo_nc.cubes.task_layer import TaskLayer, block, optimised


def test_tasks_take_chunks_values_and_each_other_wherever_they_stand():
    array = da.arange(6, chunks=2)
    tasks = TaskLayer([array])
    sums = [tasks.add("sum", np.sum, block(array, i), place=(i,)) for i in range(3)]
    seen = tasks.add("see", lambda *given: given, 7, [sums[0], [sums[1]]], {"last": sums[2]}, "x")
    assert compute(tasks.delayed(seen), tasks.delayed(sums[2])) == (
        (7, [1, [5]], {"last": 9}, "x"),
        9,
    )


def test_nothing_runs_while_tasks_are_added():
    def never():
        raise AssertionError

    tasks = TaskLayer()
    assert tasks.delayed(tasks.add("never", never)).key


def test_an_optimised_array_keeps_its_name_and_values():
    array = (da.arange(6, chunks=2) + 1) * 2
    same = optimised(array)
    assert same.name == array.name
    assert len(dict(same.dask)) < len(dict(array.dask))
    np.testing.assert_array_equal(same, array)


def test_many_tasks_take_no_longer_each():
    def seconds(count):
        array = da.zeros(count, chunks=1)
        began = time.process_time()
        tasks = TaskLayer([array])
        made = [tasks.add("a", np.sum, block(array, i), place=(i,)) for i in range(count)]
        tasks.delayed(tasks.add("all", sum, made)).dask.to_dict()
        return time.process_time() - began

    gc.collect()
    gc.disable()  # a collection goes through all that other tests left, and took 0.8 s once
    try:
        few, many = (min(seconds(count) for _ in range(3)) for count in (500, 5000))
    finally:
        gc.enable()
    assert many < 40 * few  # 100 times, if each looked through all before it
