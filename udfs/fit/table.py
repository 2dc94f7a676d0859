"""The table of scores in docs/udfs.md, made of the cards: `python -m udfs.fit.table` writes it."""

from __future__ import annotations

import json
from typing import Any

import click

from udfs.fit.writing import FOLDER

UDFS = ("land_cover", "water", "cloud", "crop_type", "change", "anomaly", "vessels")
"""In the order of the table, and of fitting."""
PAGE = FOLDER.parent / "docs/udfs.md"
_HEAD = "| UDF | takes | score, with its 95 % interval | places | baseline | command |"


def lines() -> list[str]:
    """Lines of the table."""
    return [_HEAD, "|---|---|---|---|---|---|", *map(_row, UDFS)]


def card(name: str) -> dict[str, Any]:
    """The card of a UDF."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


@click.command()
def write() -> None:
    """Write the table into docs/udfs.md, in place of the one that is there."""
    text = PAGE.read_text(encoding="utf-8").splitlines()
    first = text.index(_HEAD)
    after = next(i for i in range(first, len(text)) if not text[i].startswith("|"))
    text[first:after] = lines()
    PAGE.write_text("\n".join(text) + "\n", encoding="utf-8")


def _row(name: str) -> str:
    one = card(name)
    takes = "pixels" if one["encoder"] is None else "vectors"
    baseline = one.get("baseline")
    shown = f"{baseline['value']:.3f}" if baseline else ""
    return (
        f"| `{name}` | {takes} | {_score(one['score'])} | {one['score']['places']} | {shown} "
        f"| `python -m udfs.fit.{name}` |"
    )


def _score(score: dict[str, Any]) -> str:
    low, high = score["interval"]
    return f"{score['metric']} {score['value']:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    write()
