"""`openeo-nc tiles`: what a tile store holds, for those who look after it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from openeo_nc.cli.options import Command, json_option, show
from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    from openeo_nc.cubes.tile_store import Spec

_MEBI = 1 << 20


@click.group()
def tiles() -> None:
    """Look after a tile store: what it holds, what leaves it, whether it is whole."""


def _place_option(command: Command) -> Command:
    return click.option(
        "--tiles", "place", metavar="PLACE", envvar="OPENEO_NC_TILES", show_envvar=True,
        required=True, help="Folder or URL of the tile store.",
    )(command)  # fmt: skip


@tiles.command("list")
@_place_option
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True,
              help="Groups to show, the largest first.")  # fmt: skip
@json_option
def list_command(place: str, limit: int, as_json: bool) -> None:
    """Say how many entries there are, of how many bytes, and how often they were read."""
    from openeo_nc.cubes.tile_store_eviction import held

    entries = held(_shelf(place))
    groups: dict[str, dict[str, Any]] = {}
    for one in entries:
        name = one.path.split("/")[1]
        group = groups.setdefault(name, {"coding": name, "entries": 0, "bytes": 0, "hits": 0})
        group["entries"] += 1
        group["bytes"] += one.bytes
        group["hits"] += one.hits
    largest = sorted(groups.values(), key=lambda group: -group["bytes"])[:limit]
    for group in largest:
        group["codec"], group["rate"] = _about(place, entries, group["coding"])
    report = {
        "place": place,
        "entries": len(entries),
        "bytes": sum(one.bytes for one in entries),
        "hits": sum(one.hits for one in entries),
        "oldest_use": min((one.used for one in entries), default=None),
        "codings": largest,
    }
    show(report, as_json=as_json, human=lambda: _list_table(report))


@tiles.command()
@_place_option
@click.option("--bytes", "kept", type=click.IntRange(min=0), required=True,
              help="Bytes that may stay; what was not read for longest leaves.")  # fmt: skip
@json_option
def evict(place: str, kept: int, as_json: bool) -> None:
    """Have entries leave until so many bytes are left; 0 empties the store."""
    from openeo_nc.cubes.tile_store_eviction import evict as evicted

    freed = asdict(evicted(_shelf(place), kept))
    show(freed, as_json=as_json, human=lambda: f"{freed['entries']} entries of "
         f"{freed['bytes'] / _MEBI:.1f} MiB left the store")  # fmt: skip


@tiles.command()
@_place_option
@click.option("--remove", is_flag=True, help="Remove the damaged ones.")
@json_option
def verify(place: str, remove: bool, as_json: bool) -> None:
    """Read every entry, and list those that are damaged; the exit status is 3 if any is left."""
    from openeo_nc.cubes.tile_store_eviction import damaged

    shelf = _shelf(place)
    found = [one.path for one in damaged(shelf)]
    for path in found if remove else ():
        shelf.delete(path)
    report = {"damaged": found, "removed": len(found) if remove else 0}
    show(report, as_json=as_json, human=lambda: "\n".join([*found, f"{len(found)} damaged"]))
    if found and not remove:
        click.get_current_context().exit(3)


def _shelf(place: str) -> Any:
    from openeo_nc.cubes import tile_store

    spec: Spec = tile_store.Spec.at(place)
    try:
        shelf = tile_store.opened(spec).shelf
        next(iter(shelf.list()), None)
    except OSError as error:
        raise InvalidParameterError(f"The tile store {place} cannot be reached: {error}") from error
    return shelf


def _about(place: str, entries: Any, coding: str) -> tuple[str, str]:
    """Codec or model of a group, and rate or quantiser, as one of its entries says."""
    from openeo_nc.cubes.tile_store_entry import Entry
    from openeo_nc.errors import PayloadError

    for one in entries:
        if one.path.split("/")[1] != coding:
            continue
        data = _shelf(place).get(one.path)
        try:
            document = Entry.from_bytes(data or b"").key["of"]
        except PayloadError:
            continue
        return _named(document)
    return "", ""


def _named(document: dict[str, Any]) -> tuple[str, str]:
    """What entries are of, as `tile_store_key` and `embed_kept` state it."""
    if "card" in document:  # chips serve every quantiser
        quantiser = (document["quantiser"] or {}).get("name", "")
        return f"{document['card']['model_id']}, {document['kind']}", quantiser
    rate = ", ".join(f"{name} {value}" for name, value in document["rate"].items())
    kind = "" if document["kind"] == "pixels" else ", embedding"
    return f"{document['codec'][0]}{kind}", rate


def _list_table(report: dict[str, Any]) -> str:
    from openeo_nc.tables import table

    rows = [
        (g["coding"], g["codec"], g["rate"], g["entries"], f"{g['bytes'] / _MEBI:.1f}", g["hits"])
        for g in report["codings"]
    ]
    oldest = report["oldest_use"]
    since = "" if oldest is None else f", all used in the last {(time.time() - oldest) / 86400:.1f} days"  # fmt: skip
    total = (
        f"{report['entries']} entries, {report['bytes'] / _MEBI:.1f} MiB, read {report['hits']} times"
        f"{since}"
    )
    head = ("coding", "codec", "rate", "entries", "MiB", "hits")
    return f"{total}\n\n{table(head, rows)}" if rows else total
