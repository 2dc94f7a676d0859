"""`openeo-nc bench load`: how fast a server answers while many ask and many jobs wait and run."""

from __future__ import annotations

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show


@bench.command("load")
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True)
@click.option("--queued", type=click.IntRange(0), default=500, show_default=True)
@click.option("--running", type=click.IntRange(1), default=20, show_default=True)
@click.option("--pause", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Seconds between an answer and a client's next request.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.1), default=60.0, show_default=True)
@json_option
def load_command(
    clients: int, queued: int, running: int, pause: float, seconds: float, as_json: bool
) -> None:
    """Print how long requests for the status of jobs take on a server that is busy."""
    from openeo_nc.benchmarks import load as benchmark

    asked = benchmark.Load(
        clients=clients, queued=queued, running=running, pause=pause, seconds=seconds
    )
    report = benchmark.run(asked)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
