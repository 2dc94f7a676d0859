"""`openeo-nc cost`: what a year of an archive takes in energy and money, and what compressing saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openeo_nc.cli.options import json_option, show
from openeo_nc.economics.archive_cost import PETABYTE, REVIEW, Coder, Inputs, report, rows
from openeo_nc.economics.assumptions import Assumptions
from openeo_nc.tables import table

if TYPE_CHECKING:
    from openeo_nc.cubes.throughput import Throughput

SAMPLE_BYTES = 2
"""Bytes of a sample as archives hold it: uint16."""
_DEFAULT = Assumptions()


@click.command()
@click.option("--processed", default=10.0, show_default=True, help="PB compressed in a year.")
@click.option("--downloaded", default=100.0, show_default=True, help="PB downloaded in a year.")
@click.option(
    "--kwh-per-gb", default=_DEFAULT.transfer_kwh_per_gb, show_default=True, help="Of a transfer."
)
@click.option(
    "--usd-per-gb", default=_DEFAULT.egress_usd_per_gb, show_default=True, help="Of egress."
)
@click.option("--core-watts", default=_DEFAULT.core_watts, show_default=True)
@click.option("--gpu-watts", default=_DEFAULT.gpu_watts, show_default=True)
@click.option("--pue", default=_DEFAULT.pue, show_default=True, help="Of the data centre.")
@click.option(
    "--gpu-mb-s",
    default=REVIEW.bytes_per_second / 1e6,
    show_default="111.1",
    help="MB/s that the review's GPU compresses.",
)
@click.option("--quality", "qualities", multiple=True, type=float, default=(5.0,))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="PNG of energy and money."
)
@json_option
def cost(
    processed: float,
    downloaded: float,
    kwh_per_gb: float,
    usd_per_gb: float,
    core_watts: float,
    gpu_watts: float,
    pue: float,
    gpu_mb_s: float,
    qualities: tuple[float, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print energy and money of an archive's year: the review's Table V, and our codecs beside it."""
    from openeo_nc.cubes.throughput import measured

    inputs = Inputs(processed=processed * PETABYTE, downloaded=downloaded * PETABYTE)
    assumed = Assumptions(
        transfer_kwh_per_gb=kwh_per_gb, egress_usd_per_gb=usd_per_gb, core_watts=core_watts,
        gpu_watts=gpu_watts, pue=pue,
    )  # fmt: skip
    review = replace(REVIEW, bytes_per_second=gpu_mb_s * 1e6)
    coders = [review, *ours(measured(), qualities)]
    if out is not None:
        from openeo_nc.economics.archive_chart import draw
        from openeo_nc.economics.archive_cost import uncompressed

        draw(rows(coders, inputs, assumed), uncompressed(inputs, assumed), out)
    found = report(coders, inputs, assumed)
    show(found, as_json=as_json, human=lambda: cost_table(found))


def ours(throughput: Throughput, qualities: tuple[float, ...]) -> list[Coder]:
    """The codecs that were measured, on a core, at some qualities."""
    from openeo_nc.codecs.rate import Rate

    found = []
    for name in throughput.codecs:
        for quality in qualities:
            one = throughput.cost(name, Rate(quality=quality))
            if one is None:
                continue
            found.append(
                Coder(
                    name=f"{name}, quality {quality:g}",
                    device="cpu",
                    bytes_per_second=SAMPLE_BYTES / one.encode,
                    ratio=8 * SAMPLE_BYTES / one.bits,
                    source=f"measured on {throughput.machine}",
                )
            )
    return found


def cost_table(found: dict[str, Any]) -> str:
    """The report for people, with all that it assumes."""
    whole, given, assumed = found["uncompressed"], found["inputs"], found["assumptions"]
    lines = [
        (
            f"{given['processed'] / PETABYTE:g} PB are compressed and "
            f"{given['downloaded'] / PETABYTE:g} PB downloaded in a year."
        ),
        (
            f"Downloads as they are: {whole['transfer_kwh'] / 1e6:.3g} GWh, "
            f"{whole['egress_usd'] / 1e6:.3g} million USD."
        ),
        "",
    ]
    body = [
        (
            row["coder"]["name"],
            f"{row['coder']['bytes_per_second'] / 1e6:.1f}",
            _or_none(row["coder"]["ratio"], 1),
            *_by_device(row),
            "-" if row["coder"]["ratio"] is None else f"{row['transfer_kwh'] / 1e3:.1f}",
            "-" if row["coder"]["ratio"] is None else f"{row['egress_usd'] / 1e6:.3f}",
        )
        for row in found["rows"]
    ]
    head = (
        "codec", "MB/s", "ratio", "compress MWh, CPU", "compress MWh, GPU", "move MWh", "M USD",
    )  # fmt: skip
    values = ", ".join(f"{name} {value:g}" for name, value in assumed.items())
    sources = sorted({f"{row['coder']['name']}: {row['coder']['source']}" for row in found["rows"]})
    notes = ["", f"Assumed: {values}.", *sources]
    return "\n".join([*lines, table(head, body), *notes])


def _by_device(row: dict[str, Any]) -> tuple[str, str]:
    """MWh of compressing, in the column of the device; the other is empty, as nobody measured it."""
    value = f"{row['coding_kwh'] / 1e3:.1f}"
    return (value, "-") if row["coder"]["device"] == "cpu" else ("-", value)


def _or_none(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
