"""`openeo-nc precompute`: fills the tile store for a collection, an area and a time."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from openeo_nc.cli.options import json_option, scheduler_option, show
from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from openeo_nc.cubes.tile_filling import Coding


@click.command()
@click.option(
    "--stac", required=True, metavar="URL", help="A STAC API, or a catalogue's JSON file."
)
@click.option("--collection", required=True, metavar="ID", help="Collection in it.")
@click.option("--bbox", required=True, metavar="W,S,E,N", help="Extent in degrees.")
@click.option("--datetime", required=True, metavar="RANGE", help="START/END, the end excluded.")
@click.option("--bands", metavar="B02,B03,...", help="Bands; default is all of the collection.")
@click.option("--codec", default="auto", show_default=True, help="Codec, or model of embeddings.")
@click.option(
    "--embedding", is_flag=True, help="Fill it for encode_embedding, with a codec or a model."
)
@click.option("--quantization", metavar="NAME", help="Of a model's vectors; default int8.")
@click.option("--quality", type=float, help="Default is the codec's own.")
@click.option("--target-psnr", type=float, help="PSNR in dB, instead of a quality.")
@click.option("--target-ratio", type=float, help="Ratio of bytes, instead of a quality.")
@click.option("--max-error", type=float, help="Bound on the error, instead of a quality.")
@click.option("--guard", default="off", show_default=True, help="As compress_cube takes it.")
@click.option("--dates", type=click.IntRange(min=1), help="Days whose dates are coded together.")
@click.option("--resolution", type=float, help="Pixel size; default is that of the items.")
@click.option("--crs", type=int, metavar="EPSG", help="CRS; default is that of the items.")
@click.option(
    "--tiles", metavar="PLACE", envvar="OPENEO_NC_TILES", required=True, show_envvar=True,
    help="Tile store: a folder that workers reach, or a URL.",
)  # fmt: skip
@click.option(
    "--tiles-bytes", type=click.IntRange(min=1), envvar="OPENEO_NC_TILES_BYTES", show_envvar=True,
    help="Bytes that the tile store may hold.",
)  # fmt: skip
@scheduler_option
@json_option
def precompute(
    bbox: str, datetime: str, scheduler: str | None, as_json: bool,
    tiles: str, tiles_bytes: int | None, **given: Any,
) -> None:  # fmt: skip
    """Encode the tiles of an area before anybody asks for them.

    What the tile store has is passed over, so a run that was ended goes on where it was. Items that
    cannot be read are listed at the end, and the exit status is then 3.
    """
    from tqdm import tqdm

    from openeo_nc.cluster import connect
    from openeo_nc.cubes import tile_store
    from openeo_nc.cubes.filling_area import Area
    from openeo_nc.cubes.tile_filling import Filled, fill

    url, query, bands = _source(bbox, datetime, given)
    area = Area(
        url=url,
        query=query,
        bands=bands,
        options={name: given[name] for name in ("resolution", "crs") if given[name] is not None},
        days=given["dates"] or 1,
    )
    began = time.monotonic()
    with (
        tile_store.used(tiles, tiles_bytes or tile_store.BYTES),
        connect(scheduler) as client,
        tqdm(desc="Windows", unit="window", dynamic_ncols=True, disable=None) as bar,
    ):

        def told(filled: Filled, windows: int) -> None:
            bar.total, bar.n = windows, filled.windows
            bar.set_postfix(
                there=filled.there, made=filled.made, failed=filled.failed, refresh=False
            )
            bar.refresh()

        filled = fill(client, area, _coding(given), told)
    report = {"seconds": round(time.monotonic() - began, 3), **filled.to_dict()}
    show(report, as_json=as_json, human=lambda: _table(report))
    if filled.failed or filled.lost:
        click.get_current_context().exit(3)


def _source(
    bbox: str, datetime: str, given: dict[str, Any]
) -> tuple[str, Any, tuple[str, ...] | None]:
    """URL of the collection, extents, and bands."""
    from openeo_nc.cubes.query import Query
    from openeo_nc.demo.source import Source

    source = Source.of(
        stac=given["stac"], collection=given["collection"], bbox=bbox, datetime=datetime,
        bands=given["bands"],
    )  # fmt: skip
    query = Query.of(dict(source.spatial_extent), list(source.temporal_extent), None)
    return source.url, query, None if given["bands"] is None else source.bands


def _coding(given: dict[str, Any]) -> Coding:
    """What is done to cubes."""
    from openeo_nc.cubes.compress import compress_cube
    from openeo_nc.cubes.embed import QUANTIZATION, embedding_entries
    from openeo_nc.cubes.encode import encode_cube
    from openeo_nc.cubes.encoders import known_model

    rates = ("target_psnr", "target_ratio", "max_error", "dates")
    stated = {name: given[name] for name in rates if given[name] is not None}
    card = known_model(given["codec"]) if given["embedding"] else None
    if card is None and given["quantization"] is not None:
        raise InvalidParameterError(
            "--quantization is for vectors of models, with --embedding; "
            f"given '{given['codec']}', which is no model, or no --embedding."
        )
    if not given["embedding"]:
        return partial(
            compress_cube, codec=given["codec"], quality=given["quality"], guard=given["guard"],
            **stated,
        )  # fmt: skip
    if stated or given["guard"] != "off":
        options = ", ".join(f"--{name.replace('_', '-')}" for name in (*stated, "guard"))
        raise InvalidParameterError(f"Embeddings take a quality only; given some of {options}.")
    if card is None:
        return partial(encode_cube, model=given["codec"], quality=given["quality"])
    if given["quality"] is not None or card.dates > 1:
        raise InvalidParameterError(
            f"'{card.model_id}' takes no quality, and its tiles are of one date: "
            f"given quality {given['quality']}, and it takes {card.dates} dates at once."
        )
    return partial(embedding_entries, card=card, quantization=given["quantization"] or QUANTIZATION)


def _table(report: dict[str, Any]) -> str:
    from openeo_nc.tables import table

    names = {
        "entries": "tiles of the area", "there": "were there", "made": "encoded and kept",
        "bytes": "bytes encoded", "lost": "could not be kept", "nobodys": "of items without a date of update",
        "failed": "failed", "seconds": "seconds",
    }  # fmt: skip
    rows = [(title, report[name]) for name, title in names.items()]
    faults = [(count, message) for message, count in report["errors"].items()]
    listed = f"\n\n{table(('tiles', 'error'), faults)}" if faults else ""
    return table(("what", "number"), rows) + listed
