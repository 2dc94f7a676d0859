"""STAC beside files of embeddings: an Item a file, their Collection, the model's Item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rasterio.crs import CRS

from openeo_nc.cubes.embedding_codes import of_text
from openeo_nc.cubes.embedding_item import embedding_collection, embedding_item, model_document
from openeo_nc.cubes.item import Footprint
from openeo_nc.cubes.ledger import Written
from openeo_nc.cubes.outputs import Saved
from openeo_nc.cubes.places import Place, put


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is told of files of one cube; plain values."""

    name: str
    """Name of the result."""
    crs: str
    """`EPSG:n` or WKT."""
    bounds: tuple[float, float, float, float]
    """Outer edges of all patches."""
    shape: tuple[int, int]
    """Patches in y and x."""
    attrs: Mapping[str, Any]
    """Attributes of the cube."""
    document: str
    """JSON text of the quantiser."""
    type: str
    """Media type of the files."""
    moments: tuple[tuple[str, ...], ...]
    """Labels of t in each file."""


def described(told: Description, written: Sequence[Written], form: str) -> Saved:
    """The files with their STAC, which is written now.

    Parameters
    ----------
    written
        The files, one for each of `told.moments`, and perhaps others behind them.
    """
    paths = [file.places[0] for file in written]
    chosen = of_text(told.document)
    footprint = Footprint(crs=told.crs, bounds=told.bounds, shape=told.shape)
    folder = paths[0].parent
    model = model_document(told.attrs)
    model_path = folder / f"{told.name}-model.json"
    collection_path = folder / f"{told.name}-collection.json"
    href = f"./{model_path.name}" if model else None
    items, hrefs, places = [], [], []
    for path, moments in zip(paths, told.moments, strict=False):
        href_item = f"./{path.stem}.json"
        items.append(
            embedding_item(
                path.stem,
                footprint=footprint,
                times=tuple(map(pd.Timestamp, moments)) or None,
                attrs=told.attrs,
                chosen=chosen,
                asset={"href": f"./{path.name}", "type": told.type},
                links={"self": href_item, "collection": f"./{collection_path.name}"}
                | ({"emb:model": href} if href else {}),
                collection=f"{told.name}-embeddings",
            )
        )
        hrefs.append(href_item)
        places.append(folder / f"{path.stem}.json")
    projected = CRS.from_user_input(told.crs).is_projected
    size = (told.bounds[2] - told.bounds[0]) / told.shape[1] if projected else None
    collection = embedding_collection(
        f"{told.name}-embeddings", items, hrefs, attrs=told.attrs, chosen=chosen, size=size,
        model=href,
    )  # fmt: skip
    documents = [*items, collection, *([model] if model else [])]
    places += [collection_path, *([model_path] if model else [])]
    sizes = [_put(p, d) for p, d in zip(places, documents, strict=True)]
    return Saved(
        path=paths[0],
        format=form,
        files=tuple(paths),
        documents=tuple(places),
        bytes=sum(file.bytes for file in written) + sum(sizes),
    )


def _put(place: Place, document: Mapping[str, Any]) -> int:
    data = json.dumps(document, indent=2).encode()
    put(place, data)
    return len(data)
