"""Writes a quality report as JSON or as a page, once it is computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dask.delayed import delayed

from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.places import Place, put
from openeo_nc.cubes.quality import Quality, QualityReport
from openeo_nc.errors import OutputExistsError
from openeo_nc.report.quality_page import render

if TYPE_CHECKING:
    from dask.delayed import Delayed


def plan_report(report: QualityReport, outputs: Outputs, name: str, form: str) -> Delayed:
    """A task that writes `<name>.json` or `<name>.html` (form `JSON` or `HTML`); gives `Saved`."""
    path = outputs.folder / f"{name}.{form.lower()}"
    write = partial(_write, path, form)
    plan: Delayed = delayed(write, pure=False)(report.quality)
    return plan


def _json(quality: Quality) -> str:
    return json.dumps(quality.document, indent=2, allow_nan=False) + "\n"


_TEXTS: dict[str, Callable[[Quality], str]] = {"JSON": _json, "HTML": render}


def _write(path: Place, form: str, quality: Quality) -> Saved:
    if path.exists():
        raise OutputExistsError(f"{path} exists; nothing in it was touched.")
    text = _TEXTS[form](quality).encode()
    put(path, text)
    return Saved(
        path=path,
        format=form,
        files=(path,),
        bytes=len(text),
        details={"quality": dict(quality.document["overall"])},
    )
