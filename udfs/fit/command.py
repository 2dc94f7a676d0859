"""The command line of every fit script: where the data are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click


def command(function: Callable[[Path], None]) -> click.Command:
    """A command with the option `--data`."""
    option = click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path("../shared/data"),
        show_default=True,
        help="Folder of the shared data.",
    )
    return click.command()(option(function))
