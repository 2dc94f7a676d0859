"""The command `openeo-nc`: thin commands over the package; the only modules that print."""

from __future__ import annotations

import click

from openeo_nc.cli import (  # noqa: F401  bench_* add to bench
    bench,
    bench_cache,
    bench_downstream,
    bench_embeddings,
    bench_load,
    bench_publish,
    bench_scale,
    bench_search,
    bench_throughput,
    bench_udf,
    commands,
    cost,
    export_neuco,
    index,
    migrate,
    models,
    precompute,
    tiles,
    worker,
)
from openeo_nc.cli.options import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="openeo-nc")
@click.option("--debug", is_flag=True, help="Show the traceback of typed errors too.")
def main(debug: bool) -> None:
    """Neural compression of Earth-observation data cubes as openEO processes on Dask."""


for command in (
    bench.bench,
    commands.codecs,
    cost.cost,
    commands.demo,
    index.index,
    commands.inspect,
    commands.quality,
    commands.run,
    commands.serve,
    commands.train,
    export_neuco.export_neuco,
    migrate.migrate,
    models.models,
    precompute.precompute,
    tiles.tiles,
    worker.worker,
):
    main.add_command(command)
