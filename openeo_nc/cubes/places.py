"""Files and folders, on a file system or in object storage: named, written and removed alike."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from openeo_nc.cubes.object_store import ObjectPath, open_object_store

_AT_ONCE = 16
Result = TypeVar("Result")

Place = Path | ObjectPath
"""A file or folder, on this machine's file system or in object storage."""


def is_url(text: str) -> bool:
    """Whether a text names object storage, and not a local path."""
    return "://" in text


def below(place: Place, folder: Place) -> PurePosixPath:
    """The path of a place relative to a folder; ValueError if it is elsewhere."""
    if isinstance(place, Path):
        return PurePosixPath(place.relative_to(str(folder)))
    return PurePosixPath(str(place)).relative_to(str(folder))


def place_of(text: str) -> Place:
    """The place that a path, or a URL of object storage, names."""
    if not is_url(text):
        return Path(text)
    parts = urlsplit(text)
    return ObjectPath(url=f"{parts.scheme}://{parts.netloc}", key=parts.path.strip("/"))


def zarr_location(place: Place) -> Any:
    """A place as Zarr opens it."""
    if not isinstance(place, ObjectPath):
        return place
    from zarr.storage import ObjectStore as ZarrStore

    return ZarrStore(open_object_store(str(place)))


def each(function: Callable[[Place], Result], places: Iterable[Place]) -> list[Result]:
    """What a function gives for places; those in object storage are asked for at the same time."""
    found = list(places)
    if not found or isinstance(found[0], Path):
        return [function(place) for place in found]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(function, found))


def remove(place: Place) -> None:
    """Remove a folder with all in it, as far as that can be done now."""
    if isinstance(place, ObjectPath):
        place.remove()
    else:
        shutil.rmtree(place, ignore_errors=True)


def put(place: Place, data: bytes) -> None:
    """Put bytes at a place, whole or not at all."""
    if isinstance(place, ObjectPath):
        place.write_bytes(data)
        return
    part = place.with_name(f".{place.name}.{uuid4().hex[:8]}.part")
    part.write_bytes(data)
    os.replace(part, place)
