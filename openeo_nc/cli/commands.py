"""Commands over cubes, codecs and the server; those that measure are in `bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openeo_nc.cli.options import json_option, out_option, scheduler_option, show
from openeo_nc.errors import InvalidParameterError
from openeo_nc.tables import (
    card_table,
    codec_table,
    demo_table,
    quality_table,
    store_table,
    table,
    training_table,
)

if TYPE_CHECKING:
    from openeo_nc.demo.source import Source


@click.command()
@click.argument("codec", required=False)
@json_option
def codecs(codec: str | None, as_json: bool) -> None:
    """List the codecs that are installed, or show the card of CODEC: what it is, how it was trained."""
    from openeo_nc.codecs.registry import card_document, get_card, list_codecs

    if codec is not None:
        card = get_card(codec)
        show(card_document(card), as_json=as_json, human=lambda: card_table(card))
        return
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
    show(listing, as_json=as_json, human=lambda: codec_table(cards))


@click.command()
@click.argument("graph", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@out_option()
@scheduler_option
@json_option
def run(graph: Path, out: Path, scheduler: str | None, as_json: bool) -> None:
    """Run the process graph in the file GRAPH; what it saves goes to --out."""
    from openeo_nc.cluster import connect, progress
    from openeo_nc.graphs.run import run_file

    with connect(scheduler) as client, progress(client, graph.name):
        saved = run_file(graph, out)
    rows = [(result["path"], result["format"], result["bytes"]) for result in saved]
    show(saved, as_json=as_json, human=lambda: table(("path", "format", "bytes"), rows))


@click.command()
@click.argument("store", type=click.Path(path_type=Path, exists=True))
@json_option
def inspect(store: Path, as_json: bool) -> None:
    """Say what the saved cube STORE holds: codec, weights, bytes, bpppb, metrics."""
    from openeo_nc.cubes.inspect import inspect_store

    report = inspect_store(store)
    show(report.to_dict(), as_json=as_json, human=lambda: store_table(report))


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("reference", type=click.Path(path_type=Path, exists=True))
@out_option()
@click.option("--qualities", metavar="2,4,...", help="Code REFERENCE again at these, for curves.")
@click.option("--codec", "codecs", multiple=True, help="Codec of the curves; default is DATA's.")
@click.option("--peak", type=float, help="Peak of PSNR; default is the codec's.")
@click.option("--red", metavar="BAND", help="Red band of NDVI; default B04 or red.")
@click.option("--nir", metavar="BAND", help="Near-infrared band of NDVI; default B08 or nir.")
@scheduler_option
@json_option
def quality(
    data: Path,
    reference: Path,
    out: Path,
    qualities: str | None,
    codecs: tuple[str, ...],
    scheduler: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Say how far DATA is from its original REFERENCE, in OUT/report.html and OUT/report.json.

    Both are stores, GeoTIFFs, or folders of one GeoTIFF a date.
    """
    from openeo_nc.cluster import connect, progress
    from openeo_nc.report.run import run_report

    options = {**settings, "qualities": _numbers(qualities), "codecs": list(codecs) or None}
    with connect(scheduler) as client, progress(client, "Quality"):
        report = run_report(data, reference, out, options)
    show(report, as_json=as_json, human=lambda: quality_table(report, out))


def _numbers(given: str | None) -> list[float]:
    try:
        return [float(part) for part in given.split(",")] if given else []
    except ValueError as error:
        raise InvalidParameterError(
            f"--qualities is numbers with commas between them; '{given}' was given."
        ) from error


@click.command()
@out_option(default="demo-out")
@click.option("--stac", metavar="URL", help="A STAC API, or a catalogue's JSON file.")
@click.option("--collection", metavar="ID", help="Collection to load from it.")
@click.option("--bbox", metavar="W,S,E,N", help="Extent in degrees.")
@click.option("--datetime", metavar="RANGE", help="START/END, e.g. 2024-05-01/2024-05-20.")
@click.option("--bands", metavar="B02,B03,...", help="Bands to load; default is Sentinel-2 L2A's.")
@click.option("--quality", type=float, default=None, help="Default is the codec's own.")
@scheduler_option
@json_option
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
    show(report, as_json=as_json, human=lambda: demo_table(report, out))


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


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of 12-band GeoTIFFs; a subfolder is a place.",
)
@click.option(
    "--config",
    default="s2l2a-hyperprior",
    show_default=True,
    help="Configuration: the name of a shipped one (s2l2a-restoration), or a JSON file.",
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
@out_option()
@json_option
def train(
    data: Path,
    config: str,
    split: Path | None,
    out: Path,
    as_json: bool,
    **changes: float | None,
) -> None:
    """Train a codec or an encoder on a folder of tiles, and export weights and card into OUT."""
    from openeo_nc.training.run import train_codec

    stated = {name: value for name, value in changes.items() if value is not None}
    card = train_codec(config, data, out, split, **stated)
    found = json.loads(card.read_text())["evaluation"]
    report = {"card": str(card), "weights": str(out / "weights")}
    report |= {name: found[name] for name in ("bytes", "curve") if name in found}
    show(report, as_json=as_json, human=lambda: training_table(report))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the openEO API; its settings are environment variables OPENEO_NC_..."""
    from openeo_nc.server.serve import serve as run_server

    run_server(host, port)
