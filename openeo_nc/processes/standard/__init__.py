"""openEO's own processes where openeo-processes-dask lacks them or does not keep their definition.

        process_definitions/standard/<id>.json  +  a function in one of the modules here

Modules are families of processes; `__all__` of each names its functions, `sum_` for the process
`sum` where Python has the name already. Parameters by keyword only, such as `axis`, are not in the
definition: callers of callbacks add them. Functions take single values as JSON has them, and lazy
arrays as callbacks get them, of which they compute nothing (`_values`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

FAMILIES = (
    "arrays",
    "comparison",
    "dates",
    "dimensions",
    "filters",
    "logic",
    "masks",
    "math",
    "merging",
    "neighborhood",
    "resampling",
    "search",
    "sequences",
    "statistics",
    "temporal",
    "texts",
)
"""Modules with processes."""


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Ids of processes, and their functions."""
    for family in FAMILIES:
        module = import_module(f"{__name__}.{family}")
        for name in module.__all__:
            yield name.rstrip("_"), getattr(module, name)
