"""Fits and measures every UDF, and writes their table: `python -m udfs.fit --data DIR`."""

from __future__ import annotations

import importlib
from pathlib import Path

from tqdm import tqdm

from udfs.fit import table
from udfs.fit.command import command


@command
def fit(data: Path) -> None:
    """Write the weights and cards of all UDFs, and the table of docs/udfs.md."""
    for name in tqdm(table.UDFS, unit="UDF"):
        importlib.import_module(f"udfs.fit.{name}").fit.callback(data)
    table.write.callback()


if __name__ == "__main__":
    fit()
