"""Compares what lies on disk with its original, and leaves the report as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from openeo_nc.cubes.outputs import output_folder, save
from openeo_nc.cubes.quality import compression_quality
from openeo_nc.cubes.stack import open_source
from openeo_nc.report.saving import plan_report

NAME = "report"
"""Name of both files."""


def run_report(
    data: Path, reference: Path, out: Path, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Write `report.json` and `report.html` into a new folder; gives what the former holds.

    Parameters
    ----------
    data, reference
        As `stack.open_source` takes them.
    options
        Keywords of `cubes.quality.compression_quality`.

    Raises
    ------
    OutputExistsError
        The folder exists; nothing in it was touched. On any other failure it is not left behind.
    FormatUnsuitableError
        One of them is no cube.
    """
    with output_folder(out):
        report = compression_quality(open_source(data), open_source(reference), **options)
        for form in ("JSON", "HTML"):
            save(partial(plan_report, report, name=NAME, form=form))
    found: dict[str, Any] = json.loads((out / f"{NAME}.json").read_text(encoding="utf-8"))
    return found
