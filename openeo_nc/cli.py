"""The command `openeo-nc`: thin commands over the package; the only module that prints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from openeo_nc.errors import InvalidParameterError, OpenEONCError
from openeo_nc.tables import codec_table, demo_table, store_table, table, training_table

if TYPE_CHECKING:
    from openeo_nc.demo.source import Source

SHARED_VARIABLE = "OPENEO_NC_SHARED"
"""Environment variable that names a folder with real tiles in `data/`."""

Command = TypeVar("Command", bound=Callable[..., Any])


class _Commands(click.Group):
    """Prints typed errors as `code: message` and exits with 1; anything else is a bug and raises."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OpenEONCError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"{error.code}: {error.message}", err=True)
            ctx.exit(1)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def _scheduler_option(command: Command) -> Command:
    return click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a running Dask scheduler; default is a cluster on this machine.",
    )(command)


def _out_option(*, default: str | None = None) -> Callable[[Command], Command]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        required=default is None,
        show_default=default is not None,
        help="Folder to write; must not exist.",
    )


def _print(value: Any, *, as_json: bool, human: Callable[[], str]) -> None:
    click.echo(json.dumps(value, indent=2, default=str) if as_json else human())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="openeo-nc")
@click.option("--debug", is_flag=True, help="Show the traceback of typed errors too.")
def main(debug: bool) -> None:
    """Neural compression of Earth-observation data cubes as openEO processes on Dask."""


@main.command()
@_json_option
def codecs(as_json: bool) -> None:
    """List the codecs that are installed."""
    from openeo_nc.codecs.registry import list_codecs

    cards = list_codecs()
    listing = [
        {
            "codec_id": card.codec_id,
            "title": card.title,
            "version": card.version,
            "bands": card.bands,
            "dtypes": card.dtypes,
            "units": card.units,
            "tile": card.tile,
            "stride": card.stride,
            "embedding": card.embedding,
            "quality": dict(zip(("lowest", "highest", "default"), card.quality, strict=True)),
            "weights_sha256": card.weights_sha256,
            "licence": card.licence,
        }
        for card in cards
    ]
    _print(listing, as_json=as_json, human=lambda: codec_table(cards))


@main.command()
@click.argument("graph", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_out_option()
@_scheduler_option
@_json_option
def run(graph: Path, out: Path, scheduler: str | None, as_json: bool) -> None:
    """Run the process graph in the file GRAPH; what it saves goes to --out."""
    from openeo_nc.cluster import connect, progress
    from openeo_nc.graphs.run import run_file

    with connect(scheduler) as client, progress(client, graph.name):
        saved = run_file(graph, out)
    rows = [(result["path"], result["format"], result["bytes"]) for result in saved]
    _print(saved, as_json=as_json, human=lambda: table(("path", "format", "bytes"), rows))


@main.command()
@click.argument("store", type=click.Path(path_type=Path, exists=True))
@_json_option
def inspect(store: Path, as_json: bool) -> None:
    """Say what the saved cube STORE holds: codec, weights, bytes, bpppb, metrics."""
    from openeo_nc.cubes.inspect import inspect_store

    report = inspect_store(store)
    _print(report.to_dict(), as_json=as_json, human=lambda: store_table(report))


@main.command()
@_out_option(default="demo-out")
@click.option("--stac", metavar="URL", help="A STAC API, or a catalogue's JSON file.")
@click.option("--collection", metavar="ID", help="Collection to load from it.")
@click.option("--bbox", metavar="W,S,E,N", help="Extent in degrees.")
@click.option("--datetime", metavar="RANGE", help="START/END, e.g. 2024-05-01/2024-05-20.")
@click.option("--bands", metavar="B02,B03,...", help="Bands to load; default is Sentinel-2 L2A's.")
@click.option("--quality", type=float, default=None, help="Default is the codec's own.")
@_scheduler_option
@_json_option
def demo(
    out: Path,
    stac: str | None,
    collection: str | None,
    bbox: str | None,
    datetime: str | None,
    bands: str | None,
    quality: float | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Compress, encode and decode a scene, and write a report with pictures.

    Without options the scene is a small synthetic one, and nothing is fetched from anywhere. With
    --stac, --collection, --bbox and --datetime it is a real one.
    """
    from openeo_nc.demo.run import run_demo

    given = {"stac": stac, "collection": collection, "bbox": bbox, "datetime": datetime}
    source = _source(given, bands)
    report = run_demo(out, source=source, quality=quality, scheduler=scheduler)
    _print(report, as_json=as_json, human=lambda: demo_table(report, out))


def _source(given: dict[str, str | None], bands: str | None) -> Source | None:
    """The real source that options describe, or None for the synthetic one."""
    from openeo_nc.demo.source import Source

    stated = {name: value for name, value in given.items() if value is not None}
    if not stated:
        return None
    if missing := [f"--{name}" for name in given if name not in stated]:
        raise InvalidParameterError(
            "Real data need --stac, --collection, --bbox and --datetime together; "
            f"missing: {', '.join(missing)}."
        )
    return Source.of(**stated, bands=bands)


@main.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of 12-band GeoTIFFs; a subfolder is a place.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Configuration of the run, JSON; default is that of the shipped codec.",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Places to train and to evaluate on, JSON; default is the configuration's if DIR has its "
    "files, else every eighth place of DIR is left out.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps, instead of the configuration's.")
@click.option("--minutes", type=float, help="Stop after this time even if steps are left.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.")
@_out_option()
@_json_option
def train(
    data: Path,
    config: Path | None,
    split: Path | None,
    out: Path,
    as_json: bool,
    **changes: float | None,
) -> None:
    """Train the learned codec on a folder of tiles, and export weights and card into OUT."""
    from openeo_nc.training.export import export
    from openeo_nc.training.train import CONFIG
    from openeo_nc.training.train import train as run_training

    stated = {name: value for name, value in changes.items() if value is not None}
    checkpoint = run_training(config or CONFIG, data, out, split, **stated)
    options = "".join(f" --{name} {value}" for name, value in stated.items())
    card = export(checkpoint, data, out / "split.json", out, f"openeo-nc train{options}")
    report = {
        "card": str(card),
        "weights": str(out / "weights"),
        "places": json.loads(card.read_text())["evaluation"]["bytes"],
    }
    _print(report, as_json=as_json, human=lambda: training_table(report))


@main.group()
def bench() -> None:
    """Measure codecs; each command stands behind the numbers in the docs."""


@bench.command("rate-distortion")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that the split's paths are relative to; default is data/ in OPENEO_NC_SHARED.",
)
@click.option("--split", default="s2l2a", show_default=True, help="Shipped split, or a JSON file.")
@click.option(
    "--tiles",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure the GeoTIFFs in this folder instead of a split.",
)
@click.option("--codec", "codecs", multiple=True, help="Codec or baseline; default is all.")
@click.option("--quality", "qualities", multiple=True, type=float, help="Levels to measure.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the report as JSON and its curves as a picture.",
)
@_json_option
def rate_distortion(
    data: Path | None,
    split: str,
    tiles: Path | None,
    codecs: tuple[str, ...],
    qualities: tuple[float, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print bytes and PSNR of the codecs beside JPEG 2000 on places left out of training."""
    from openeo_nc.benchmarks import rate_distortion as benchmark
    from openeo_nc.benchmarks.rate_distortion_output import table as report_table

    if data is None and tiles is None:
        data = _shared_data()
    report = benchmark.run(
        data, split, codecs or benchmark.CODECS, qualities or None, out, tiles=tiles
    )
    _print(report, as_json=as_json, human=lambda: report_table(report))


def _shared_data() -> Path:
    """The folder of real tiles that the environment names."""
    given = os.environ.get(SHARED_VARIABLE)
    if given is None:
        raise InvalidParameterError(
            f"There is nothing to measure: give --data or --tiles, or set {SHARED_VARIABLE}."
        )
    return Path(given) / "data"


if __name__ == "__main__":
    main()
