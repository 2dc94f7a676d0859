"""`openeo-nc bench publish-rates`: what the server's page shows of a rate-distortion run."""

from __future__ import annotations

from pathlib import Path

import click

from openeo_nc.cli.bench import bench


@bench.command("publish-rates")
@click.argument("report", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def publish_rates(report: Path) -> None:
    """Take the curves of REPORT, a rate_distortion.json, into the package for the server's page."""
    from openeo_nc.benchmarks import published

    published.write(report)
    click.echo(f"{published.FILE} has its curves")
