"""`openeo-nc index`: makes, fills, asks and describes indexes of embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import click

from openeo_nc.cli.options import json_option, show
from openeo_nc.errors import InvalidParameterError

_urls = click.argument("urls", nargs=-1, required=True, metavar="URL...")


@click.group()
def index() -> None:
    """Make, fill and search indexes of embeddings."""


@index.command()
@click.argument("path", type=click.Path(path_type=Path, file_okay=False))
@_urls
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine",
              show_default=True, help="What is near.")  # fmt: skip
@click.option("--kind", type=click.Choice(["arrow", "lancedb"]), default="arrow",
              show_default=True, help="lancedb needs the extra of that name.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the index that is there.")
@json_option
def build(
    path: Path, urls: tuple[str, ...], metric: str, kind: str, overwrite: bool, as_json: bool
) -> None:
    """Make an index at PATH of stored embedding cubes: Zarr stores, GeoParquet, COGs, STAC items."""
    from openeo_nc.search import building

    with _progress(urls) as shown:
        added = building.build(path, shown, kind=kind, metric=metric, overwrite=overwrite)
    show(asdict(added), as_json=as_json, human=lambda: f"{added.rows} vectors of "
         f"{len(added.sources)} sources are in {path}")  # fmt: skip


@index.command()
@click.argument("name")
@_urls
@json_option
def add(name: str, urls: tuple[str, ...], as_json: bool) -> None:
    """Add the cubes at URLs to the index NAME (id or path), but those that it has."""
    from openeo_nc.search import building

    with _progress(urls) as shown:
        added = building.add(name, shown)
    show(asdict(added), as_json=as_json, human=lambda: f"{added.rows} vectors of "
         f"{len(added.sources)} sources were added; {len(added.skipped)} sources were there")  # fmt: skip


@index.command()
@click.argument("name")
@click.option("--vector", metavar="JSON", help="The query, a list of numbers.")
@click.option("--at", metavar="LON,LAT", help="The patch of the index at this place, as query.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--bbox", metavar="W,S,E,N", help="Only patches there, degrees.")
@click.option("--datetime", metavar="START/END", help="Only patches then, the end excluded.")
@click.option("--json", "as_json", is_flag=True, help="Print GeoJSON.")
def query(
    name: str, vector: str | None, at: str | None, k: int, bbox: str | None,
    datetime: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Print the patches of the index NAME (id or path) that are nearest a query."""
    from openeo_nc.search.frame import geojson
    from openeo_nc.search.similar import find_similar

    if (vector is None) == (at is None):
        raise InvalidParameterError("Give one of --vector and --at.")
    asked: Any = _json(vector) if vector is not None else _point(str(at))
    found = find_similar(name, asked, k, _filters(bbox, datetime))
    frame = found.compute(scheduler="synchronous")
    show(geojson(frame), as_json=as_json, human=lambda: _table(frame))


@index.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Say what the index NAME (id or path) holds."""
    from openeo_nc.search.opening import open_index, place_of
    from openeo_nc.tables import table

    told = open_index(place_of(name)).info().to_dict()
    show(told, as_json=as_json, human=lambda: table(
        ("what", "value"),
        [(key.replace("_", " "), value) for key, value in told.items() if key != "sources"],
    ))  # fmt: skip


@contextmanager
def _progress(urls: Sequence[str]) -> Iterator[Any]:
    """The URLs with a bar that moves as they are read, on terminals."""
    from tqdm import tqdm

    with _Bar(urls, tqdm(total=len(urls), unit="source", disable=None)) as bar:
        yield bar


class _Bar(Sequence[str]):
    """A sequence whose bar shows how far it was gone through last."""

    def __init__(self, urls: Sequence[str], bar: Any) -> None:
        self._urls, self._bar = urls, bar

    def __len__(self) -> int:
        return len(self._urls)

    def __getitem__(self, at: Any) -> Any:
        return self._urls[at]

    def __iter__(self) -> Iterator[str]:
        self._bar.reset()
        for url in self._urls:
            yield url
            self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidParameterError(f"--vector is a JSON list of numbers: {error}") from error


def _point(text: str) -> dict[str, Any]:
    return {"type": "Point", "coordinates": _numbers(text, 2, "--at")}


def _numbers(text: str, count: int, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise InvalidParameterError(f"{option} is {count} numbers with commas; given {text!r}.")
    return numbers


def _filters(bbox: str | None, datetime: str | None) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if bbox is not None:
        sides = _numbers(bbox, 4, "--bbox")
        filters["spatial_extent"] = dict(
            zip(("west", "south", "east", "north"), sides, strict=True)
        )
    if datetime is not None:
        filters["temporal_extent"] = [part or None for part in datetime.split("/")]
    return filters


def _table(frame: Any) -> str:
    from openeo_nc.tables import table

    middles = [one.centroid for one in frame.geometry]
    rows = [
        (row.rank, f"{row.score:.4f}", f"{middle.x:.5f}", f"{middle.y:.5f}", row.time, row.source)
        for row, middle in zip(frame.itertuples(), middles, strict=True)
    ]
    return table(("rank", "score", "lon", "lat", "time", "source"), rows)
