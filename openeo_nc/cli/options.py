"""What commands share: options, how they print, and how they end with a typed error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from openeo_nc.errors import InvalidParameterError, OpenEONCError

SHARED_VARIABLE = "OPENEO_NC_SHARED"
"""Environment variable that names a folder with real tiles in `data/`."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Commands(click.Group):
    """Prints typed errors as `code: message` and exits with 1; anything else is a bug and raises."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OpenEONCError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"{error.code}: {error.message}", err=True)
            ctx.exit(1)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def scheduler_option(command: Command) -> Command:
    return click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Address of a running Dask scheduler; default is a cluster on this machine.",
    )(command)


def out_option(*, default: str | None = None) -> Callable[[Command], Command]:
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=default,
        required=default is None,
        show_default=default is not None,
        help="Folder to write; must not exist.",
    )


def data_options(command: Command) -> Command:
    """--data and --split, or --tiles: what a benchmark measures."""
    options = [
        click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Folder that the split's paths are relative to; default is data/ in "
            f"{SHARED_VARIABLE}.",
        ),
        click.option(
            "--split", default="s2l2a", show_default=True, help="Shipped split, or a JSON file."
        ),
        click.option(
            "--tiles",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="Measure the GeoTIFFs in this folder instead of a split.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def show(value: Any, *, as_json: bool, human: Callable[[], str]) -> None:
    click.echo(json.dumps(value, indent=2, default=str) if as_json else human())


def shared_data() -> Path:
    """The folder of real tiles that the environment names."""
    given = os.environ.get(SHARED_VARIABLE)
    if given is None:
        raise InvalidParameterError(
            f"There is nothing to measure: give --data or --tiles, or set {SHARED_VARIABLE}."
        )
    return Path(given) / "data"
