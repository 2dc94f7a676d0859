"""What the demonstration loads, and the process graphs that load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from openeo_nc.cubes.catalogue import find_collection
from openeo_nc.demo import scene
from openeo_nc.errors import InvalidParameterError
from openeo_nc.graphs.parameters import Scope, substitute
from openeo_nc.sentinel2 import BANDS

Graph = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Arguments of load_stac."""

    url: str
    """Collection, static or of an API."""
    spatial_extent: Mapping[str, Any]
    """As openEO has it."""
    temporal_extent: tuple[str | None, str | None]
    """Start and end; the end is excluded."""
    bands: tuple[str, ...]
    """Bands to load."""
    notice: str | None
    """What everybody who sees the result must know about the data."""

    def arguments(self) -> dict[str, Any]:
        """Values of the graphs' parameters that say what to load."""
        return {
            "url": self.url,
            "spatial_extent": dict(self.spatial_extent),
            "temporal_extent": list(self.temporal_extent),
            "bands": list(self.bands),
        }

    @classmethod
    def synthetic(cls, folder: Path) -> Self:
        """The synthetic scene, written into a folder."""
        return cls(
            url=str(scene.write_scene(folder)),
            spatial_extent=scene.extent(),
            temporal_extent=("2024-01-01", "2025-01-01"),
            bands=BANDS,
            notice=scene.NOTICE,
        )

    @classmethod
    def of(
        cls, *, stac: str, collection: str, bbox: str, datetime: str, bands: str | None = None
    ) -> Self:
        """Real data, from the command line's options.

        Raises
        ------
        InvalidParameterError, CollectionNotFoundError
        """
        try:
            west, south, east, north = (float(part) for part in bbox.split(","))
        except ValueError as error:
            raise InvalidParameterError(
                f"--bbox is W,S,E,N in degrees, four numbers; '{bbox}' was given."
            ) from error
        start, slash, end = datetime.partition("/")
        if not slash:
            raise InvalidParameterError(
                f"--datetime is START/END, the end excluded; '{datetime}' was given."
            )
        return cls(
            url=_collection(stac, collection),
            spatial_extent={"west": west, "south": south, "east": east, "north": north},
            temporal_extent=(_open(start), _open(end)),
            bands=BANDS if bands is None else tuple(bands.split(",")),
            notice=None,
        )


def _collection(stac: str, collection: str) -> str:
    """Where a collection is: in an API at its fixed address, in a static catalogue as linked."""
    if "://" in stac and not stac.endswith(".json"):
        return f"{stac.rstrip('/')}/collections/{collection}"
    return find_collection(collection, [stac])


def _open(side: str) -> str | None:
    return None if side in ("", "..") else side


def fill(name: str, source: Source, **values: Any) -> Graph:
    """The process graph `demo/graphs/<name>.json` with its parameters filled in."""
    text = files("openeo_nc.demo").joinpath(f"graphs/{name}.json").read_text(encoding="utf-8")
    scope = Scope(values=source.arguments() | values)
    filled: Graph = substitute(json.loads(text), scope)
    return filled


def source_graph(graph: Graph) -> Graph:
    """The graph of nothing but the node `load` of another."""
    return {"load": {**graph["load"], "result": True}}


def load_item(store: Mapping[str, Any]) -> Graph:
    """The graph that loads a saved store by its STAC Item; takes the store's report."""
    url = str(Path(str(store["path"])) / "item.json")
    return {"load": {"process_id": "load_stac", "arguments": {"url": url}, "result": True}}
