"""Data that can be loaded: `/collections` and the items in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from openeo_nc.cubes.query import Query as Extents
from openeo_nc.errors import RequestInvalidError
from openeo_nc.server.backend import Backend
from openeo_nc.server.requests import Json, Limit, Offset, Served, base, link, pages

router = APIRouter(prefix="/collections", tags=["EO Data Discovery"])

_IN_LISTS = ("stac_version", "type", "id", "title", "description", "keywords",
             "license", "providers", "extent", "deprecated")  # fmt: skip
"""Fields of a collection that lists have; those of extensions are of the collection's own page."""
ITEMS = 10
"""Items of a page if no limit is given."""


@router.get("")
def listed(request: Request, backend: Served, limit: Limit = None, offset: Offset = 0) -> Json:
    """All collections, without what only matters to one of them."""
    found = backend.collections.listed()[offset:][:limit]
    return {
        "collections": [
            {name: one[name] for name in _IN_LISTS if name in one}
            | {"links": _links(request, backend, one)}
            for one in found
        ],
        "links": [
            link("self", f"{base(request, backend)}/collections", type="application/json"),
            link("root", f"{base(request, backend)}/", type="application/json"),
            *pages(request, backend, len(found), limit, offset),
        ],
    }


@router.get("/{collection_id}")
def one(request: Request, backend: Served, collection_id: str) -> Json:
    """A collection, with the dimensions that a cube of it has."""
    found = backend.collections.get(collection_id)
    return found | {"links": _links(request, backend, found)}


@router.get("/{collection_id}/items")
def items(
    request: Request,
    backend: Served,
    collection_id: str,
    bbox: Annotated[str | None, Query(description="west,south,east,north in degrees")] = None,
    datetime: Annotated[str | None, Query(description="START/END, the end excluded")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = ITEMS,
    offset: Offset = 0,
) -> JSONResponse:
    """Items of a collection, at most `limit`."""
    query = _extents(bbox, datetime)
    found = backend.collections.items(collection_id, query, limit, after=offset)
    here = f"{base(request, backend)}/collections/{collection_id}"
    body = {
        "type": "FeatureCollection",
        "features": found,
        "numberReturned": len(found),
        "links": [
            link("collection", here, type="application/json"),
            link("self", f"{here}/items", type="application/geo+json"),
            *_following(request, f"{here}/items", len(found), limit, offset),
        ],
    }
    return JSONResponse(body, media_type="application/geo+json")


def _following(request: Request, here: str, count: int, limit: int, offset: int) -> list[Json]:
    """The link to the next page, with all else that was asked for."""
    if count < limit:
        return []
    asked = request.url.include_query_params(limit=limit, offset=offset + limit).query
    return [link("next", f"{here}?{asked}", type="application/geo+json")]


def _extents(bbox: str | None, datetime: str | None) -> Extents:
    spatial = None
    if bbox is not None:
        try:
            west, south, east, north = map(float, bbox.split(","))
        except ValueError as error:
            raise RequestInvalidError("bbox is west,south,east,north: four numbers.") from error
        spatial = {"west": west, "south": south, "east": east, "north": north}
    temporal = None
    if datetime is not None:
        start, slash, end = datetime.partition("/")
        if not slash:
            raise RequestInvalidError("datetime is START/END; .. leaves a side open.")
        temporal = [None if side in ("", "..") else side for side in (start, end)]
    return Extents.of(spatial, temporal, None)


def _links(request: Request, backend: Backend, collection: Json) -> list[Json]:
    here = base(request, backend)
    own = f"{here}/collections/{collection['id']}"
    return [
        link("self", own, type="application/json"),
        link("root", f"{here}/", type="application/json"),
        link("parent", f"{here}/collections", type="application/json"),
        link("items", f"{own}/items", type="application/geo+json"),
        *collection["links"],
    ]
