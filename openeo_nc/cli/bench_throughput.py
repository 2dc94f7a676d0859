"""`openeo-nc bench throughput`: what coding costs, as estimates of jobs take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from openeo_nc.cli.bench import bench
from openeo_nc.cli.options import data_options, json_option, shared_data, show
from openeo_nc.tables import table


@bench.command("throughput")
@data_options
@click.option("--codec", "codecs", multiple=True, help="Codec; default is all of Sentinel-2.")
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, help="Tiles.")
@click.option("--device", default="cpu", show_default=True, help="Device of networks.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON file for the report."
)
@json_option
def throughput(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    count: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print seconds, bits and memory of coding: what estimates of jobs are made from."""
    from openeo_nc.benchmarks import throughput as benchmark

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(data, split, codecs or None, tiles=tiles, count=count, device=device)
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report, as_json=as_json, human=lambda: throughput_table(report))


def throughput_table(report: dict[str, Any]) -> str:
    """Points of every codec, what models take, and memory."""
    rows = [
        (
            name,
            f"{point['kind']} {point['value']:g}",
            *(f"{1e-6 / point[operation]:.2f}" for operation in ("encode", "decode")),
            f"{point['bits']:.4f}",
            f"{point['bits_low']:.4f} to {point['bits_high']:.4f}",
            "exact" if point["psnr"] is None else f"{point['psnr']:.2f}",
        )
        for name, one in report["codecs"].items()
        for point in one["points"]
    ]
    head = ("codec", "rate", "encode", "decode", "bits", "of tiles", "dB")
    embedded = [(name, f"{1e-6 / one['embed']:.2f}") for name, one in report["models"].items()]
    memory = [
        (name, *(f"{one['memory'][part] / 2**20:.0f}" for part in ("process", "codec", "tile")))
        for name, one in (report["codecs"] | report["models"]).items()
    ]
    machine = report["machine"]
    title = (
        f"Million samples (a band of a pixel) a second and core; bits a sample; "
        f"{len(report['tiles'])} tiles of {' x '.join(map(str, report['shape']))}.\n"
        f"{machine['cpu']}, {machine['cores']} cores, networks on {report['device']}"
    )
    sizes = table(("codec or model", "MiB: process", "codec", "a tile"), memory)
    vectors = f"{table(('model', 'embed'), embedded)}\n\n" if embedded else ""
    return f"{title}\n\n{table(head, rows)}\n\n{vectors}{sizes}"
