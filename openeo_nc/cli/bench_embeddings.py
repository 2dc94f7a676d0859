"""`openeo-nc bench quantisation`: what quantisers keep of real vectors."""

from __future__ import annotations

from pathlib import Path

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show


@bench.command("quantisation")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              required=True, help="Folder with embeddings/ and s2/.")  # fmt: skip
@click.option("--side", type=click.IntRange(min=8), default=256, show_default=True,
              help="Pixels a side of the tiles that s2-embed-small is given.")  # fmt: skip
@json_option
def quantisation(data: Path, side: int, as_json: bool) -> None:
    """Print bytes a vector, error and kept neighbours of each quantiser."""
    from openeo_nc.benchmarks import quantisation as benchmark

    kept = benchmark.run(data, side=side)
    show(benchmark.documents(kept), as_json=as_json, human=lambda: benchmark.table_of(kept))
