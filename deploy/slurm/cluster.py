"""Runs a Dask scheduler here, and as Slurm jobs its workers: some to read and write, some with a GPU.

        python deploy/slurm/cluster.py --cpu 4 --gpu 1 --address scheduler.txt
        OPENEO_NC_SCHEDULER=$(cat scheduler.txt) openeo-nc serve --host 0.0.0.0

It stays until it is told to end, which cancels the jobs; one that ends earlier is submitted again.
Needs dask-jobqueue beside openeo-nc. What the jobs ask Slurm for is in jobqueue.yaml.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from typing import Any

import dask
import yaml
from dask_jobqueue.slurm import SLURMJob
from distributed import Scheduler, SpecCluster

KINDS = ("cpu", "gpu")
"""Each is a section `openeo-nc-KIND` of the configuration."""
_CHECK_SECONDS = 30.0


def workers(counts: dict[str, int]) -> dict[str, dict[str, Any]]:
    """One Slurm job a worker, by name; what each asks for is dask's configuration."""
    return {
        f"{kind}-{number}": {"cls": SLURMJob, "options": {"config_name": f"openeo-nc-{kind}"}}
        for kind in KINDS
        for number in range(counts[kind])
    }


def run(counts: dict[str, int], address: Path, host: str | None, port: int) -> None:
    """Keep scheduler and jobs until SIGTERM or Ctrl-C; `address` is a file while they are there."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    scheduler = {
        "cls": Scheduler,
        "options": {"host": host, "port": port, "dashboard_address": ":0"},
    }
    with SpecCluster(workers(counts), scheduler) as cluster:
        own = address.with_name(f"{address.name}.{os.getpid()}")
        own.write_text(cluster.scheduler_address)
        own.replace(address)
        try:
            while not ending.wait(_CHECK_SECONDS):
                cluster.scale(len(cluster.worker_spec))  # starts those that were lost
        finally:
            address.unlink(missing_ok=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", type=int, default=2, help="jobs that read and write")
    parser.add_argument("--gpu", type=int, default=0, help="jobs with a GPU each, for networks")
    parser.add_argument("--address", type=Path, required=True, help="file for the address")
    parser.add_argument("--host", help="address of this machine on the cluster's network")
    parser.add_argument("--port", type=int, default=8786, help="0 is any that is free")
    parser.add_argument(
        "--config", type=Path, default=Path(__file__).with_name("jobqueue.yaml"), help="YAML"
    )
    given = parser.parse_args()
    dask.config.update_defaults(yaml.safe_load(given.config.read_text()))
    run({"cpu": given.cpu, "gpu": given.gpu}, given.address, given.host, given.port)


if __name__ == "__main__":
    main()
