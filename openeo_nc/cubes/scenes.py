"""Which items a cube's pixels were read from, tile by tile, and for how long that holds.

As with payloads (see `payloads`), attributes survive arithmetic and dask names do not: the record
is a string, the dask name of the cube that was loaded, and counts only while the cube has that array
and its labels. Filters that only select make a new record (`selected`).

An item has a digest of all that decides its pixels: where its files are, how numbers become values,
and its checksums or when it was updated. One that does not say has none, and neither has one whose
address may be a secret; what is read from these is nobody else's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.dims import BANDS, T, X, Y, labels
from openeo_nc.cubes.grid import Bounds
from openeo_nc.cubes.tile_store_entry import digest_of

if TYPE_CHECKING:
    from openeo_nc.cubes.reader import Source
    from openeo_nc.cubes.target import Target

ATTRIBUTE = "nc:scenes"
"""The attribute that holds the record."""
DATA_VARIABLE = "OPENEO_NC_DATA"
"""Environment variable: folder of a server, whose folder `files` belongs to its users."""
_VERSIONS = ("updated", "created", "version", "processing:version", "s2:processing_baseline")
_SECRET = re.compile(r"[0-9A-Fa-f]{40,}")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """An item, as a cube shows it."""

    sources: tuple[Source, ...]
    """Each of the cube's bands in it."""
    boxes: tuple[Bounds, ...] | None
    """Where it has pixels, in the cube's CRS; None if it does not say."""
    digests: tuple[str | None, ...]
    """What decides the pixels of each band; None if that is not known, or is not to be shared."""

    def touches(self, bounds: Bounds) -> bool:
        """Whether it may have pixels in the bounds."""
        left, bottom, right, top = bounds
        return self.boxes is None or any(
            box[0] < right and box[2] > left and box[1] < top and box[3] > bottom
            for box in self.boxes
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes:
    """The items of a cube, date by date."""

    dates: tuple[tuple[Scene, ...], ...]
    """Items of each date; at each pixel the first with a value counts."""
    target: Target
    """Pixels of the cube that was loaded."""
    reach: Bounds | None
    """Where items were looked for, in the cube's CRS; None is everywhere."""
    times: npt.NDArray[Any]
    """Labels of t."""
    bands: tuple[str, ...]
    """Labels of the bands."""
    y: npt.NDArray[np.float64]
    """Labels of y."""
    x: npt.NDArray[np.float64]
    """Labels of x."""

    def describes(self, cube: xr.DataArray) -> bool:
        """Whether the cube has exactly these labels."""
        return (
            {T, BANDS, Y, X} <= set(cube.coords)
            and np.array_equal(cube[T].values, self.times)
            and labels(cube) == self.bands
            and np.array_equal(cube[Y].values, self.y)
            and np.array_equal(cube[X].values, self.x)
        )

    def of(self, cube: xr.DataArray) -> Scenes | None:
        """The items of a cube made of some of these labels; None if its labels are others."""
        if not {T, BANDS, Y, X} <= set(cube.dims) & set(cube.coords):
            return None
        times = _positions(self.times.tolist(), cube[T].values.tolist())
        bands = _positions(self.bands, labels(cube))
        inside = all(
            np.isin(cube[dim].values, own).all() for dim, own in ((Y, self.y), (X, self.x))
        )
        if times is None or bands is None or not inside:
            return None

        def chosen(scene: Scene) -> Scene:
            return replace(
                scene,
                sources=tuple(scene.sources[b] for b in bands),
                digests=tuple(scene.digests[b] for b in bands),
            )

        return replace(
            self,
            dates=tuple(tuple(map(chosen, self.dates[t])) for t in times),
            times=cube[T].values,
            bands=labels(cube),
            y=cube[Y].values,
            x=cube[X].values,
        )


LookUp = Callable[[], "Scenes | None"]
"""Finds scenes when they are first asked for: it may take a request to a catalogue."""


class ScenesRecord(str):
    """The attribute's value: the dask name that the scenes belong to, and the scenes."""

    __slots__ = ("_found",)
    _found: Scenes | LookUp | None

    def __new__(cls, name: str, found: Scenes | LookUp | None) -> Self:
        record = super().__new__(cls, name)
        record._found = found
        return record

    @property
    def scenes(self) -> Scenes | None:
        """The scenes; None if they are not known."""
        if callable(self._found):
            self._found = self._found()
        return self._found

    def __reduce__(self) -> tuple[Any, ...]:
        """What is not looked up yet stays unknown elsewhere: the request was this process's."""
        return type(self), (str(self), None if callable(self._found) else self._found)

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def with_scenes(cube: xr.DataArray, scenes: Scenes | LookUp) -> xr.DataArray:
    """The same dask-backed cube, whose pixels are those of the scenes until its array changes."""
    return cube.assign_attrs({ATTRIBUTE: ScenesRecord(cube.data.name, scenes)})


def scenes_of(cube: xr.DataArray) -> Scenes | None:
    """The scenes that exactly hold the cube's pixels, or None."""
    record = _record_of(cube)
    scenes = None if record is None else record.scenes
    return scenes if scenes is not None and scenes.describes(cube) else None


def _record_of(cube: xr.DataArray) -> ScenesRecord | None:
    record = cube.attrs.get(ATTRIBUTE)
    if not isinstance(record, ScenesRecord) or getattr(cube.data, "name", None) != str(record):
        return None
    return record


def selected(before: Any, after: Any) -> Any:
    """What a process that only selects labels gave, with the scenes of what it was given."""
    if not isinstance(before, xr.DataArray) or not isinstance(after, xr.DataArray):
        return after
    if _record_of(before) is None or after.chunks is None:
        return after

    def chosen() -> Scenes | None:
        scenes = scenes_of(before)
        return None if scenes is None else scenes.of(after)

    return with_scenes(after, chosen)


def digest(
    item: Mapping[str, Any], source: Source, stat: Callable[[str], os.stat_result] = os.stat
) -> str | None:
    """What decides the pixels of a band of an item (raw JSON); None if that is not to be known.

    The file's checksum counts where it is stated, else when the item was updated; a file of this
    machine is known by its size and time as well.
    """
    asset = source.asset
    if not shareable(asset.href):
        return None
    stated = (item.get("assets") or {}).get(asset.key) or {}
    properties = item.get("properties") or {}
    version: dict[str, Any] = {}
    if stated.get("file:checksum"):
        version["checksum"] = str(stated["file:checksum"])
    elif updated := stated.get("updated") or properties.get("updated"):
        version = {name: str(properties[name]) for name in _VERSIONS if name in properties}
        version["updated"] = str(updated)
    if not _REMOTE.match(asset.href):
        try:
            found = stat(asset.href)
        except OSError:
            return None
        version["file"] = [found.st_size, found.st_mtime_ns]
    if not version:
        return None
    nodata = None if asset.nodata is None else repr(asset.nodata)
    return digest_of(
        {
            "item": str(item.get("id")),
            "href": asset.href,
            "band": asset.band,
            "crs": asset.crs,
            "numbers": [repr(asset.scale), repr(asset.offset), nodata],
            "resampling": source.resampling,
            "version": version,
        }
    )


def shareable(href: str) -> bool:
    """Whether what is read from an address may be kept for others.

    Not from one with a user's name, with a query or part that may be a signature, and not from the
    folder of users' files.
    """
    if not _REMOTE.match(href):
        own = os.path.join(os.environ.get(DATA_VARIABLE) or "openeo-nc-data", "files")
        return not os.path.abspath(href).startswith(os.path.abspath(own) + os.sep)
    parts = urlsplit(href)
    return not (
        "@" in parts.netloc
        or parts.query
        or parts.fragment
        or any(_SECRET.fullmatch(part) for part in parts.path.split("/"))
    )


def _positions(known: Sequence[Any], wanted: Sequence[Any]) -> list[int] | None:
    """Where labels are among others; None if one is not, or may be any of several."""
    places = {label: place for place, label in enumerate(known)}
    if len(places) != len(known) or not all(label in places for label in wanted):
        return None
    return [places[label] for label in wanted]
