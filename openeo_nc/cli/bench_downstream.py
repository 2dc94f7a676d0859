"""`openeo-nc bench downstream`: what compression and quantisation cost tasks, what vectors gain."""

from __future__ import annotations

from pathlib import Path

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show


@bench.command("downstream")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              required=True, help="Folder with embeddings/, labels/ and s2/.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Part of every image, one ratio, one codec.")
@json_option
def downstream(data: Path, quick: bool, as_json: bool) -> None:
    """Print scores of heads on compressed pixels, quantised vectors, vectors and raw pixels."""
    from openeo_nc.benchmarks import downstream as benchmark

    report = benchmark.run(data, quick=quick, progress=not as_json)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
