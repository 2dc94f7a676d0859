"""Processes of synchronous results: how they end, and what the server is told."""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback

import pytest

from openeo_nc.errors import ProcessFailedError, RequestTimeoutError, SyncBusyError, SyncLostError
from openeo_nc.server import evaluation
from openeo_nc.server.evaluation import Evaluation, Reply, Request


@pytest.fixture
def request_of(tmp_path, cluster):
    def made(seconds=60.0):
        return Request(
            process={"process_graph": {"e": {"process_id": "e", "arguments": {}, "result": True}}},
            folder=tmp_path / "out", scheduler=cluster, catalogues=(), seconds=seconds,
        )  # fmt: skip

    return made


def test_a_value(request_of, tmp_path):
    assert Evaluation(1).run(request_of()) == Reply(value=pytest.approx(2.718281828))
    assert not multiprocessing.active_children()
    assert not (tmp_path / "out").exists()


def _fails(request):
    raise KeyError("lost on the way")


def _evaluates_what_fails(request, connection, evaluate=evaluation._evaluate):
    evaluation.evaluate = _fails
    evaluate(request, connection)


def test_an_error_brings_its_traceback(request_of, monkeypatch):
    monkeypatch.setattr(evaluation, "_evaluate", _evaluates_what_fails)
    with pytest.raises(ProcessFailedError, match="KeyError: 'lost on the way'") as caught:
        Evaluation(1).run(request_of())
    assert "in _fails" in "".join(traceback.format_exception(caught.value))


def _sleeps(request, connection):
    time.sleep(60)


def _dies(request, connection):
    connection.close()


def test_what_takes_too_long_is_stopped(request_of, monkeypatch):
    monkeypatch.setattr(evaluation, "_evaluate", _sleeps)
    began = time.monotonic()
    with pytest.raises(RequestTimeoutError, match=r"0\.2 s"):
        Evaluation(1).run(request_of(0.2))
    assert time.monotonic() - began < 20
    assert not multiprocessing.active_children()


def test_a_process_that_is_lost(request_of, monkeypatch):
    monkeypatch.setattr(evaluation, "_evaluate", _dies)
    with pytest.raises(SyncLostError):
        Evaluation(1).run(request_of())


def test_more_than_may_run_and_wait_are_refused(request_of, monkeypatch):
    monkeypatch.setattr(evaluation, "_evaluate", _sleeps)
    one = Evaluation(1)
    errors = []

    def run():
        try:
            one.run(request_of(3))
        except (RequestTimeoutError, SyncBusyError) as error:
            errors.append(type(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    with pytest.raises(SyncBusyError):
        one.run(request_of())
    for thread in threads:
        thread.join()
    assert len(errors) == 2
