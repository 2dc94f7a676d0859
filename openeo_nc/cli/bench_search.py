"""`openeo-nc bench search`: how long a search among many vectors takes, and what it finds."""

from __future__ import annotations

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, shared_data, show


@bench.command("search")
@click.option("--rows", type=click.IntRange(min=1000), default=500_000, show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(["arrow", "lancedb"]), multiple=True,
              help="Kind of index; default arrow.")  # fmt: skip
@json_option
def search(rows: int, queries: int, k: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Print milliseconds a query and recall, without and with filters, on jittered AlphaEarth."""
    from openeo_nc.benchmarks import search as benchmark

    folder = shared_data() / "embeddings" / "alphaearth_2024"
    report = benchmark.run(
        benchmark.vectors_of(folder), rows=rows, queries=queries, k=k, kinds=kinds or ("arrow",)
    )
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
