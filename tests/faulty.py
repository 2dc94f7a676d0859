"""Runners for tests: real ones in processes of their own, some of which die at a given point.

Processes are forked from a server that has imported everything, so that each starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

from openeo_nc import cluster
from openeo_nc.graphs.registry import default_registry
from openeo_nc.jobs import claims, ledger, runner, work

default_registry()


def _die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def _then_die(function):
    def called(*args, **keywords):
        function(*args, **keywords)
        _die()

    return called


def _pause_then(function):
    def called(*args, **keywords):
        os.kill(os.getpid(), signal.SIGSTOP)
        return function(*args, **keywords)

    return called


def before_any_shard():
    work.Work.compute = _die


def before_a_shard_is_recorded():
    ledger.record = _die


def after_a_shard_is_recorded():
    ledger.record = _then_die(ledger.record)


def before_the_job_is_published():
    claims.publish = _die


def after_the_job_is_published():
    claims.publish = _then_die(claims.publish)


def paused_before_the_job_is_published():
    claims.publish = _pause_then(claims.publish)


def impatient():
    cluster._CONNECT_SECONDS = 0.5


def stuck():
    runner._attempt = lambda *_: time.sleep(120)


def as_it_is():
    pass


def _run(orders, claim, fault, environment):
    os.environ.update(environment)
    fault()
    os._exit(runner.run(orders, claim.job_id, claim.token))


def start(orders, claim, fault, environment):
    """A process that runs a claimed job, with some variables besides those of its server."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run, args=(orders, claim, fault, environment), daemon=True)
    process.start()
    return process
