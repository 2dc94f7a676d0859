"""`openeo-nc bench udf`: what sandboxes cost."""

from __future__ import annotations

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show


@bench.command("udf")
@click.option(
    "--side", "sides", multiple=True, type=click.IntRange(min=1), help="Pixels along a chunk."
)
@click.option("--dates", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--chunks", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@json_option
def udf(sides: tuple[int, ...], dates: int, chunks: int, rounds: int, as_json: bool) -> None:
    """Print how long run_udf takes for a chunk, beside the same code called in the worker."""
    from openeo_nc.benchmarks import udf as benchmark

    report = benchmark.run(sides or None, dates=dates, chunks=chunks, rounds=rounds)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
