"""Finds the packages that bring codecs: this one, and those that entry points name.

A codec package is a folder with `cards/<codec_id>.json`, `weights/` and one module for each
architecture, as `openeo_nc.codecs` is. Another distribution adds its own by an entry point of
group `openeo_nc.codecs` whose value is the package's import name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path

from openeo_nc.errors import CardInvalidError

ENTRY_POINTS = "openeo_nc.codecs"
"""Group of entry points, and import name of the package that is always there."""


@cache
def packages(group: str = ENTRY_POINTS) -> Mapping[str, Path]:
    """Import name and folder of each package of a group, ours first; runs none of their code.

    Embedding models are found in the same way, in group `openeo_nc.models`.

    Raises
    ------
    CardInvalidError
        An entry point names something that is no package.
    """
    found = {group: Path(__file__).resolve().parents[1] / group.rpartition(".")[2]}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        spec = _spec(point.value)
        if spec is None or not spec.submodule_search_locations:
            raise CardInvalidError(
                f"entry point '{point.name}' of group {group} names '{point.value}', "
                "which is no package"
            )
        found.setdefault(point.value, Path(spec.submodule_search_locations[0]))
    return found


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a parent is missing, or it is no name of a module
        return None
