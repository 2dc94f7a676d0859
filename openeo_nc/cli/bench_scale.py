"""`openeo-nc bench overhead`, `scaling`, `gpu` and `profile`: what inference costs at scale."""

from __future__ import annotations

import json
from pathlib import Path

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import json_option, show

_workloads = click.option(
    "--workload", "names", multiple=True, help="encode, target, embedding or encoder; default all."
)
_rounds = click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)


@bench.command("overhead")
@_workloads
@click.option(
    "--tiles", type=click.IntRange(min=1), default=4, show_default=True, help="Tiles of a side."
)
@_rounds
@json_option
def overhead(names: tuple[str, ...], tiles: int, rounds: int, as_json: bool) -> None:
    """Print what running a network through Dask costs over a bare loop, and what naive ways cost."""
    from openeo_nc.benchmarks import overhead as benchmark

    report = benchmark.run(names or None, tiles=tiles, rounds=rounds)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("scaling")
@_workloads
@click.option(
    "--tiles", type=click.IntRange(min=1), default=8, show_default=True, help="Tiles a worker."
)
@_rounds
@json_option
def scaling(names: tuple[str, ...], tiles: int, rounds: int, as_json: bool) -> None:
    """Print what a second worker brings, and a worker's memory on growing areas."""
    from openeo_nc.benchmarks import scaling as benchmark

    report = benchmark.run(names or None, tiles=tiles, rounds=rounds)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("gpu")
@click.option("--device", default="cuda", show_default=True, help="torch device name, or cpu.")
@click.option("--tiles", type=click.IntRange(min=1), default=64, show_default=True)
@click.option(
    "--side", type=click.IntRange(min=128), default=384, show_default=True, help="Pixels of a tile."
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, help="Measure torch.compile too.")
@_rounds
@json_option
def gpu(
    device: str, tiles: int, side: int, batch: int, compiled: bool, rounds: int, as_json: bool
) -> None:
    """Print how fast a device encodes and decodes, beside its bare network and its limits."""
    from openeo_nc.benchmarks import gpu as benchmark

    report = benchmark.run(
        device, tiles=tiles, side=side, batch=batch, rounds=rounds, compiled=compiled
    )
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("profile")
@click.option("--workload", "name", default="encode", show_default=True)
@click.option("--tiles", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="PNG to draw; JSON beside it."
)
@click.option(
    "--before",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON of an earlier profile, to draw beside this one.",
)
@json_option
def profile(name: str, tiles: int, out: Path | None, before: Path | None, as_json: bool) -> None:
    """Print where the time of a workload goes, and draw it."""
    from openeo_nc.benchmarks import profile as benchmark

    report = benchmark.run(name, tiles=tiles)
    if out is not None:
        earlier = None if before is None else benchmark.read(before)
        out.with_suffix(".json").write_text(json.dumps(report, indent=2), encoding="utf-8")
        benchmark.draw(report, out.with_suffix(".png"), earlier)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))
