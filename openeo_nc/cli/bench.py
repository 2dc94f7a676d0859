"""`openeo-nc bench`: what codecs cost and give; each command stands behind numbers in the docs."""

from __future__ import annotations

from pathlib import Path

import click

from openeo_nc.cli.options import SHARED_VARIABLE, data_options, json_option, shared_data, show


@click.group()
def bench() -> None:
    """Measure codecs; each command stands behind the numbers in the docs."""


@bench.command("rate-distortion")
@data_options
@click.option("--codec", "codecs", multiple=True, help="Codec or baseline; default is all.")
@click.option("--quality", "qualities", multiple=True, type=float, help="Levels to measure.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report as JSON and its curves as a picture.",
)
@json_option
def rate_distortion(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    qualities: tuple[float, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print bytes, PSNR and BD-rate of all codecs on places left out of training."""
    from openeo_nc.benchmarks import rate_distortion as benchmark
    from openeo_nc.benchmarks.rate_distortion_output import table as report_table

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(data, split, codecs or None, qualities or None, out, tiles=tiles)
    show(report, as_json=as_json, human=lambda: report_table(report))


@bench.command("bounds")
@data_options
@click.option("--codec", "codecs", multiple=True, help="Codec; default is auto's and classical.")
@click.option("--max-error", "bounds", multiple=True, type=float, help="Bounds to measure.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the report as JSON."
)
@json_option
def bounds_command(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    bounds: tuple[float, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print what bounds on the error cost, down to lossless, by every codec that keeps them."""
    from openeo_nc.benchmarks import bounds as benchmark

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(data, split, codecs or None, bounds or None, out, tiles=tiles)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("targets")
@data_options
@click.option("--codec", "codecs", multiple=True, help="Codec; default is ours and classical.")
@click.option("--target", "targets", multiple=True, type=float, help="PSNR in dB to measure.")
@click.option(
    "--crop",
    type=click.IntRange(min=1),
    default=192,
    show_default=True,
    help="Most rows and columns of a tile.",
)
@json_option
def targets_command(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    targets: tuple[float, ...],
    crop: int,
    as_json: bool,
) -> None:
    """Print how near tiles come to a PSNR that is asked of them, and what that takes."""
    from openeo_nc.benchmarks import targets as benchmark

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(data, split, codecs or None, targets or None, tiles=tiles, crop=crop)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("any-bands")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help=f"Folder of real data; default is data/ in {SHARED_VARIABLE}.",
)
@click.option("--quality", "qualities", multiple=True, type=float, help="Levels to measure.")
@json_option
def any_bands(data: Path | None, qualities: tuple[float, ...], as_json: bool) -> None:
    """Print what auto does with radar, weather, classes and other bands, beside classical codecs."""
    from openeo_nc.benchmarks import any_bands as benchmark

    report = benchmark.run(data or shared_data(), qualities or None)
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("speed")
@data_options
@click.option("--codec", "codecs", multiple=True, help="Codec or baseline; default is ours, JPEGs.")
@click.option("--quality", type=float, default=5.0, show_default=True, help="Of the codecs.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@json_option
def speed(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    quality: float,
    rounds: int,
    as_json: bool,
) -> None:
    """Print how fast codecs encode and decode on one and two workers, and where the time goes."""
    from openeo_nc.benchmarks import speed as benchmark
    from openeo_nc.benchmarks.speed_output import table as report_table

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(data, split, codecs or None, tiles=tiles, quality=quality, rounds=rounds)
    show(report, as_json=as_json, human=lambda: report_table(report))


@bench.command("dates")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of GeoTIFFs of one place, a date in each name; default is the Boadella series of "
    f"{SHARED_VARIABLE}.",
)
@click.option("--codec", default="klt-dct", show_default=True, help="One that joins dates.")
@click.option("--days", multiple=True, type=click.IntRange(min=1), help="Lengths of windows.")
@click.option("--quality", "qualities", multiple=True, type=float, help="Levels to measure.")
@json_option
def dates(
    data: Path | None,
    codec: str,
    days: tuple[int, ...],
    qualities: tuple[float, ...],
    as_json: bool,
) -> None:
    """Print what coding the dates of a series together saves."""
    from openeo_nc.benchmarks import dates as benchmark

    report = benchmark.run(
        data or shared_data() / benchmark.SERIES, codec, days=days or benchmark.DAYS,
        qualities=qualities or benchmark.QUALITIES,
    )  # fmt: skip
    show(report, as_json=as_json, human=lambda: benchmark.table(report))


@bench.command("guard")
@data_options
@click.option("--codec", "codecs", multiple=True, help="To code with; default is those of S2 L2A.")
@click.option("--quality", type=float, default=5.0, show_default=True, help="Of the codecs.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report as JSON and a picture.",
)
@json_option
def guard(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    quality: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print what the guard detects of corrupted and foreign tiles, and what they do to codecs."""
    from openeo_nc.benchmarks import guard as benchmark
    from openeo_nc.benchmarks.guard_output import table as report_table

    if data is None and tiles is None:
        data = shared_data()
    report = benchmark.run(
        data, split, codecs or benchmark.CODECS, out, tiles=tiles, quality=quality
    )
    show(report, as_json=as_json, human=lambda: report_table(report))
