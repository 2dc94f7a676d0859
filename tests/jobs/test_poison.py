"""What is done without once a task was found that ends its workers; finding it is in test_faults."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dask._task_spec import Task, TaskRef

from openeo_nc.cubes import on_error, tasks
from openeo_nc.errors import ClusterLostError, PoisonTaskError
from openeo_nc.jobs import poison


def fails():
    try:
        on_error.check()
    except PoisonTaskError:
        return "no data"
    return "pixels"


def test_a_withheld_task_gives_no_data():
    key = ("encode-0", 0, 0, 0)
    graph = {key: Task(key, fails), "sum": Task("sum", str, TaskRef(key))}
    assert graph[key]() == "pixels"
    changed = poison.withhold(graph, [key])
    assert changed[key]() == "no data"
    assert changed["sum"] is graph["sum"]
    assert fails() == "pixels"


def test_a_second_of_a_date_takes_the_others_of_it_along():
    keys = [("fetch-0", t, b, y, 0) for t in range(2) for b in range(2) for y in range(3)]
    graph = {key: Task(key, fails) for key in [*keys, "other"]}
    first, second, elsewhere = keys[0], keys[2], keys[3]
    assert poison.given_up(graph, [first]) == [first]
    assert poison.given_up(graph, [first, elsewhere]) == [elsewhere]
    assert poison.given_up(graph, [first, second]) == keys[:3]


def test_a_task_is_told_in_words():
    assert (
        poison.place(("encode-0a1b", 1, 2, 3)) == "'encode' of the tile (date 1, row 2, column 3)"
    )
    named = "'fetch' of the chunk (date 1, row 3, column 4)"
    assert poison.place(("fetch-0a1b", 1, 2, 3, 4)) == named
    assert poison.place("lattice-0a1b") == "'lattice'"


def encode(pixels):
    if np.isfinite(pixels).any() and np.ptp(pixels):
        raise ZeroDivisionError("the codec divided by zero")
    return pixels


def test_what_cannot_be_encoded_is_no_data_only_where_that_is_asked_for():
    tile = np.arange(8.0).reshape(2, 2, 2)
    assert np.isnan(tasks.forgiving(encode, tile, None, "job")).all()
    assert (tasks.forgiving(encode, tile.astype("uint16"), 0, "job") == 0).all()
    for pixels, nodata, topic in ((tile, None, None), (tile.astype("uint16"), None, "job")):
        with pytest.raises(ZeroDivisionError):
            tasks.forgiving(encode, pixels, nodata, topic)


class Lost:
    """A client whose scheduler is gone, and its only future."""

    status, key = "closed", "one"

    def get(self, graph, keys, sync):
        return [self]

    def done(self):
        return True

    def release(self):
        pass


def test_tasks_of_a_cluster_that_is_lost_are_not_innocent():
    graph = {"one": Task("one", fails)}
    with pytest.raises(ClusterLostError):
        poison.guilty(Lost(), graph, ["one"], ["one"], time.sleep)
