"""Finds STAC items: in an API by search, in static catalogues by following links.

Everything works on raw JSON, so that old and new STAC versions stay as they were published;
`assets.py` reads both. Only metadata is fetched here, never an asset.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import requests
from pystac.utils import make_absolute_href
from urllib3 import Retry

from openeo_nc.cubes import addresses
from openeo_nc.cubes.addresses import Guard, guard
from openeo_nc.cubes.query import LONLAT, Query, instant, period
from openeo_nc.errors import (
    CollectionNotFoundError,
    InvalidParameterError,
    NoDataAvailableError,
)

MAX_ITEMS = 20_000
"""More items than this in one load are refused; the extent was forgotten."""

_RETRY = Retry(
    total=5, connect=1, read=1, backoff_factor=1, status_forcelist=[502, 503, 504],
    allowed_methods=None,
)  # fmt: skip
"""Searches are repeated while an API is busy; of one that is silent they are once."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
Json = dict[str, Any]


def find_items(url: str | Sequence[Json], query: Query) -> list[Json]:
    """Items (raw JSON, asset hrefs absolute) that a query asks for, by datetime, then id.

    Parameters
    ----------
    url
        URL or path of an Item, an ItemCollection, a Catalog, a Collection (static or of an API),
        or of a local folder that holds one of these; or items that were found before.

    Raises
    ------
    InvalidParameterError
        The URL cannot be read or is not STAC, or matches too many items.
    NoDataAvailableError
        No item matches.
    """
    if isinstance(url, str):
        href = locate(url)
        found = _bounded(_items(read_json(href), href, query))
    else:
        found = iter(url)
    items = [item for item in found if query.matches(item)]
    if not items:
        where = url if isinstance(url, str) else f"{len(url)} items"
        raise NoDataAvailableError(f"No item of {where} is in the given extents and filters.")
    return sorted(items, key=lambda item: (period(item)[0], str(item.get("id"))))


def find_collection(collection_id: str, catalogues: Iterable[str]) -> str:
    """URL of the collection of this id in the first catalogue that has it.

    Raises
    ------
    CollectionNotFoundError
        None has it; the message names the collections there are.
    """
    known: list[str] = []
    searched = list(catalogues)
    for catalogue in searched:
        for found, href in _collections(locate(catalogue)):
            if found == collection_id:
                return href
            known.append(found)
    where = ", ".join(searched) or "none: set OPENEO_NC_CATALOGUES"
    raise CollectionNotFoundError(
        f"There is no collection '{collection_id}'. Known are: {', '.join(known) or 'none'}. "
        f"Catalogues: {where}."
    )


def list_collections(catalogues: Iterable[str]) -> Iterator[tuple[str, str]]:
    """`(id, URL)` of all collections, in the order of their catalogues; the first of an id counts.

    Raises
    ------
    InvalidParameterError
        A catalogue cannot be read.
    """
    known: set[str] = set()
    for catalogue in catalogues:
        for found, href in _collections(locate(catalogue)):
            if found not in known:
                known.add(found)
                yield found, href


def some_items(url: str, query: Query, limit: int, *, after: int = 0) -> list[Json]:
    """At most `limit` items (raw JSON, asset hrefs absolute) that a query asks for; maybe none.

    The first `after` of them are left out.

    Raises
    ------
    InvalidParameterError
        The URL cannot be read or is not STAC.
    """
    href = locate(url)
    found = _bounded(_items(read_json(href), href, query))
    return list(
        itertools.islice((item for item in found if query.matches(item)), after, after + limit)
    )


def locate(url: str) -> str:
    """An absolute URL or path; of a local folder the STAC document in it."""
    if "://" in url and not url.startswith("file://"):
        return url
    path = Path(url.removeprefix("file://")).expanduser().absolute()
    if path.is_dir():
        for name in ("item.json", "collection.json", "catalog.json"):
            if (path / name).is_file():
                return str(path / name)
    return str(path)


def read_json(href: str, by: Guard | None = None) -> Json:
    """One JSON object from a URL or path, under a guard or the one in force (threads have none).

    Raises
    ------
    InvalidParameterError
        It cannot be read, or is no JSON object.
    AddressRefusedError
    """
    by = by or guard()
    try:
        if href.startswith(("http://", "https://")):
            response = addresses.get(href, by)
            response.raise_for_status()
            text = response.content
        else:
            if by is not None:
                by.check(href)
            with fsspec.open(href, "rb") as file:
                text = file.read()
        document = json.loads(text)
    except (requests.RequestException, OSError, ValueError, ImportError) as error:
        raise InvalidParameterError(f"{href} cannot be read as STAC: {error}") from error
    if not isinstance(document, dict):
        raise InvalidParameterError(f"{href} holds no JSON object.")
    return document


def _items(document: Json, href: str, query: Query) -> Iterator[Json]:
    kind = document.get("type")
    if kind == "Feature":
        yield _absolute(document, href)
    elif kind == "FeatureCollection":
        yield from _pages(document, href)
    elif (root := _search_root(document, href)) is not None:
        collections = [document["id"]] if kind == "Collection" else None
        yield from _search(root, collections, query)
    elif (listing := _link(document, href, "items")) is not None:
        yield from _pages(read_json(listing), listing)
    elif kind in ("Catalog", "Collection") or {"id", "links"} <= set(document):
        yield from _walk(document, href, query)
    else:
        raise InvalidParameterError(f"{href} is not a STAC Item, ItemCollection or Collection.")


def _search(root: str, collections: list[str] | None, query: Query) -> Iterator[Json]:
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO

    spatial, temporal = query.spatial, query.temporal
    by = guard()
    if by is not None:
        by.check(root)
    io = StacApiIO(max_retries=_RETRY)
    addresses.mount(io.session, by)
    try:
        client = Client.open(root, stac_io=io, timeout=addresses.TIMEOUT)  # it forgets that of `io`
        search = client.search(
            collections=collections,
            bbox=None if spatial is None else list(spatial.bounds_in(LONLAT)),
            datetime=None if temporal is None else str(temporal),
        )
        for item in search.items_as_dicts():
            yield _absolute(item, _link(item, root, "self") or root)
    except APIError as error:
        raise InvalidParameterError(f"The search in {root} failed: {error}") from error


def _search_root(document: Json, href: str) -> str | None:
    """URL of the API's landing page, if the document belongs to an API that can search."""
    root, landing = href, document
    if document.get("type") == "Collection":
        above = _link(document, href, "root")
        if above is None or _link(document, href, "items") is None:
            return None
        root, landing = above, read_json(above)
    classes = landing.get("conformsTo") or ()
    return root if any("item-search" in str(name) for name in classes) else None


def _pages(document: Json, href: str) -> Iterator[Json]:
    for page, _ in _linked(document, href):
        for item in page.get("features", []):
            yield _absolute(item, href)


def _linked(page: Json, href: str) -> Iterator[tuple[Json, str]]:
    """A page and those that its `next` links lead to, each with its URL."""
    seen = {href}
    while True:
        yield page, href
        following = _link(page, href, "next")
        if following is None:
            return
        if following in seen or len(seen) > MAX_ITEMS:
            raise InvalidParameterError(
                f"The pages of {href} have no end: 'next' leads to {following}, where it has been "
                f"before, or on and on."
            )
        seen.add(following)
        page, href = read_json(following), following


def _walk(document: Json, href: str, query: Query) -> Iterator[Json]:
    """Items of a static catalogue and its children; collections off the extents are left out."""
    seen, todo = {href}, [(document, href)]
    with ThreadPoolExecutor(8) as pool:
        while todo:
            document, href = todo.pop()
            hrefs = [h for h in _links(document, href, "item") if h not in seen]
            seen.update(hrefs)
            read = partial(read_json, by=guard())
            for found, item in zip(hrefs, pool.map(read, hrefs), strict=True):
                yield _absolute(item, found)
            for child in _links(document, href, "child"):
                if child not in seen:
                    seen.add(child)
                    below = read_json(child)
                    if _may_hold(below, query):
                        todo.append((below, child))


def _may_hold(document: Json, query: Query) -> bool:
    extent = document.get("extent") or {}
    boxes = (extent.get("spatial") or {}).get("bbox") or [None]
    spans = (extent.get("temporal") or {}).get("interval") or [[None, None]]
    start, end = spans[0]
    first = instant(start) if start else dt.datetime.min.replace(tzinfo=dt.UTC)
    last = instant(end) if end else dt.datetime.max.replace(tzinfo=dt.UTC)
    if query.temporal is not None and not query.temporal.overlaps(first, last):
        return False
    spatial = Query(spatial=query.spatial)
    return any(spatial.matches({"bbox": box}) for box in boxes)


def _collections(href: str, seen: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """`(id, href)` of the collections of an API, or of a static catalogue and its children."""
    seen = set() if seen is None else seen
    if href in seen:  # a catalogue may be among its own children
        return
    seen.add(href)
    document = read_json(href)
    if document.get("type") == "Collection":
        yield str(document.get("id")), href
    elif (listing := _link(document, href, "data")) is not None:
        for entry in _listed(listing):
            own = _link(entry, listing, "self")
            yield str(entry.get("id")), own or f"{listing.rstrip('/')}/{entry.get('id')}"
    else:
        for child in _links(document, href, "child"):
            yield from _collections(child, seen)


def _listed(href: str) -> Iterator[Json]:
    """The collections that an API lists, all pages."""
    for page, _ in _linked(read_json(href), href):
        yield from page.get("collections", [])


def _bounded(items: Iterable[Json]) -> Iterator[Json]:
    for count, item in enumerate(items):
        if count >= MAX_ITEMS:
            raise InvalidParameterError(
                f"More than {MAX_ITEMS} items match; give a smaller spatial_extent or "
                "temporal_extent."
            )
        yield item


def _absolute(item: Json, href: str) -> Json:
    by = guard()
    assets = {
        key: {**asset, "href": _asset_href(str(asset["href"]), href)}
        for key, asset in (item.get("assets") or {}).items()
        if asset.get("href")
    }
    if by is not None:
        places = {urlsplit(one["href"])[:2]: one["href"] for one in assets.values()}
        for place in places.values():
            by.check(place, of=href)
    return {**item, "assets": assets}


def _asset_href(given: str, href: str) -> str:
    """The absolute form of an asset's href in the document at `href`.

    Items that a server on this machine gives may name files of this machine by their path.
    """
    if given.startswith("/") and urlsplit(href).hostname in LOOPBACK:
        return given
    return make_absolute_href(given, href)


def _links(document: Mapping[str, Any], href: str, rel: str) -> list[str]:
    links = [link for link in document.get("links") or () if link.get("rel") == rel]
    return [make_absolute_href(str(link["href"]), href) for link in links if "href" in link]


def _link(document: Mapping[str, Any], href: str, rel: str) -> str | None:
    return next(iter(_links(document, href, rel)), None)
