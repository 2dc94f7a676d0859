"""Runners are forked from a prepared process, told apart by it, and outlive it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from openeo_nc.jobs.claims import Claim
from openeo_nc.jobs.starting import Nursery, _Answers, _Forked, end

FAKE = (sys.executable, str(Path(__file__).with_name("fake_nursery.py")))


def claim(job_id, token):
    return Claim(job_id=job_id, token=token, attempt=f"attempt-{token}")


def until(holds, seconds=120):
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it did not come to hold"
        time.sleep(0.02)


@pytest.fixture
def nursery():
    """A nursery that is ready, and ended after the test."""
    one = Nursery(environment=dict(os.environ), command=FAKE)
    until(one.ready)
    yield one
    one.close()


def test_exit_statuses_are_those_of_the_runners(nursery, orders):
    children = [nursery.start(claim("ends", token), orders) for token in (0, 3, 4)]
    assert all(child.wait(60) for child in children)
    assert [child.poll() for child in children] == [0, 3, 4]


def test_orders_are_in_no_argument_and_no_variable(nursery, orders):
    child = nursery.start(claim("waits", 1), orders)
    until(lambda: child.pid is not None)
    for what in ("cmdline", "environ"):
        path = Path(f"/proc/{child.pid}/{what}")
        if path.exists():
            assert orders.database.encode() not in path.read_bytes()
    until(lambda: os.getsid(child.pid) == child.pid)
    end([child], 60)
    assert child.poll() == -signal.SIGTERM


def test_a_runner_outlives_the_process_that_it_was_forked_from(nursery, orders):
    child = nursery.start(claim("waits", 1), orders)
    until(lambda: child.pid is not None)
    nursery._process.kill()
    until(child.answers.over.is_set)
    assert child.poll() is None
    until(nursery.ready)  # another one
    other = nursery.start(claim("ends", 0), orders)
    assert other.wait(60)
    child.signal(signal.SIGKILL)
    assert child.wait(60)
    assert (child.poll(), other.poll()) == (-1, 0)


def test_lines_that_are_no_answers_are_passed_over(nursery, orders):
    answers = nursery._answers
    for line in ("hello", "[1]", '{"started": 1, "job": "nobody", "token": 9}', "{}"):
        answers._take(line)
    assert not answers.over.is_set()
    assert nursery.start(claim("ends", 0), orders).wait(60)


def test_a_runner_is_lost_when_nobody_hears_its_nursery(nursery, orders):
    child = nursery.start(claim("ends", 3), orders)
    assert child.wait(60)
    read, write = os.pipe()
    os.write(write, b"\xff\xff\n")
    os.close(write)
    answers = object.__new__(_Answers)
    answers.ready, answers.over = True, threading.Event()
    with pytest.raises(UnicodeDecodeError):
        answers._hear(os.fdopen(read, encoding="utf-8"))
    assert answers.over.is_set()
    assert not answers.ready
    assert _Forked(answers).poll() == -1
