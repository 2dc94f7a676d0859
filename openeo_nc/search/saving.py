"""Writes what a search found as GeoJSON, once it is computed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dask.delayed import delayed

from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.places import Place, put
from openeo_nc.errors import OutputExistsError
from openeo_nc.search.frame import geojson

if TYPE_CHECKING:
    from dask.delayed import Delayed


def plan_geojson(found: Any, outputs: Outputs, name: str) -> Delayed:
    """A task that writes `<name>.geojson` of a vector cube in memory or lazy; gives `Saved`."""
    path = outputs.folder / f"{name}.geojson"
    parts = found.to_delayed() if hasattr(found, "to_delayed") else [found]
    plan: Delayed = delayed(_write, pure=False)(path, parts)
    return plan


def _write(path: Place, parts: list[Any]) -> Saved:
    import pandas as pd

    if path.exists():
        raise OutputExistsError(f"{path} exists; nothing in it was touched.")
    document = geojson(pd.concat(parts) if len(parts) > 1 else parts[0])
    text = (json.dumps(document, allow_nan=False) + "\n").encode()
    put(path, text)
    found = {"features": len(document["features"])}
    return Saved(path=path, format="GEOJSON", files=(path,), bytes=len(text), details=found)
