"""The collections of the configured catalogues, described once in a while."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from openeo_nc.cubes.catalogue import Json, list_collections, some_items
from openeo_nc.cubes.collection import describe_collection
from openeo_nc.cubes.query import Query
from openeo_nc.errors import CollectionNotFoundError, OpenEONCError

logger = logging.getLogger(__name__)

KEPT_SECONDS = 600
"""How long what a catalogue said is believed."""

Found = TypeVar("Found")


class Collections:
    """Reads catalogues, and remembers what they said."""

    def __init__(self, catalogues: tuple[str, ...], kept: float = KEPT_SECONDS) -> None:
        self._catalogues = catalogues
        self._kept = kept
        self._known: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def listed(self) -> list[Json]:
        """All collections; one that cannot be read is left out, and the log says why."""
        found = []
        for collection_id in self._hrefs():
            try:
                found.append(self.get(collection_id))
            except OpenEONCError as error:
                logger.warning("collection %s is left out: %s", collection_id, error)
        return found

    def get(self, collection_id: str) -> Json:
        """One collection, as `describe_collection` has it.

        Raises
        ------
        CollectionNotFoundError
        """
        href = self._href(collection_id)
        found: Json = self._remembered(href, lambda: describe_collection(href))
        return found

    def items(self, collection_id: str, query: Query, limit: int, *, after: int = 0) -> list[Json]:
        """Some items that a query asks for; assets that are files of the server are left out.

        The first `after` items are left out too.

        Raises
        ------
        CollectionNotFoundError
        """
        return [
            _on_web(item)
            for item in some_items(self._href(collection_id), query, limit, after=after)
        ]

    def _href(self, collection_id: str) -> str:
        hrefs = self._hrefs()
        if collection_id not in hrefs:
            raise CollectionNotFoundError(f"Collection '{collection_id}' does not exist.")
        return hrefs[collection_id]

    def _hrefs(self) -> dict[str, str]:
        found: dict[str, str] = self._remembered("", self._read)
        return found

    def _read(self) -> dict[str, str]:
        hrefs: dict[str, str] = {}
        for catalogue in self._catalogues:
            try:
                hrefs = dict(list_collections([catalogue])) | hrefs
            except OpenEONCError as error:
                logger.warning("catalogue %s is left out: %s", catalogue, error)
        return hrefs

    def _remembered(self, key: str, read: Callable[[], Found]) -> Found:
        with self._lock:
            since, value = self._known.get(key, (0.0, None))
        if value is None or time.monotonic() > since + self._kept:
            value = read()
            with self._lock:
                self._known[key] = (time.monotonic(), value)
        found: Found = value
        return found


def demo_catalogue(folder: Path) -> str:
    """The catalogue of the synthetic scene in a folder; drawn if it is not there."""
    from openeo_nc.demo.scene import write_scene

    if not folder.exists():
        logger.info("drawing the synthetic scene into %s", folder)
        own = folder.with_name(f"{folder.name}-{os.getpid()}")  # pystac takes dots for suffixes
        write_scene(own)
        try:
            own.rename(folder)
        except OSError:  # another server was first
            shutil.rmtree(own)
    return str(folder / "catalog.json")


def _on_web(item: Json) -> Json:
    assets = {
        key: asset
        for key, asset in (item.get("assets") or {}).items()
        if str(asset.get("href", "")).startswith(("https://", "http://", "s3://"))
    }
    return {**item, "assets": assets, "links": []}
