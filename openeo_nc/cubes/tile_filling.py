"""Fills a tile store for an area and a time: window by window, so that memory does not grow with them.

    time --slices--> items --zones--> pixels --windows of 8 x 8 tiles--> cube --> entries

What is there is passed over without reading a pixel, so whoever fills a store a second time, after
a kill or for new items, goes on where the first time ended. Windows of which the store's storage took
less than it should are done once more at the end. What fails then is told of.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from openeo_nc.cubes import stac, tile_store
from openeo_nc.cubes.filling_area import Area, Window, slices, windows_of
from openeo_nc.cubes.payloads import payloads_of
from openeo_nc.cubes.task_layer import TaskLayer, block
from openeo_nc.cubes.tile_store_graph import Entries
from openeo_nc.errors import NoDataAvailableError, OpenEONCError

if TYPE_CHECKING:
    from distributed import Client, Future

    from openeo_nc.cubes.tile_store import Key
    from openeo_nc.cubes.tile_store_entry import Entry
    from openeo_nc.cubes.whole_tiles import Place

Coding = Callable[[xr.DataArray], xr.DataArray | Entries | None]
"""Gives a cube with payloads, or entries of vectors; None where nobody can keep these."""
AHEAD = 2
"""Windows that are worked on at once."""


@dataclass(kw_only=True)
class Filled:
    """What came of it so far."""

    windows: int = 0
    """Windows that are done."""
    entries: int = 0
    """Entries that the area has: tiles, or tiles of a window of dates."""
    there: int = 0
    """Those that were there before."""
    made: int = 0
    """Those that were encoded and kept."""
    lost: int = 0
    """Those that were encoded and could not be kept."""
    nobodys: int = 0
    """Those of items that do not say when they were updated, or are not to be shared."""
    failed: int = 0
    """Those that could not be encoded."""
    bytes: int = 0
    """Bytes of the payloads that were encoded."""
    errors: dict[str, int] = field(default_factory=dict)
    """Why, and how many failed for it."""

    def add(self, other: Filled) -> None:
        """Count what came of another part of the work too."""
        for name, value in asdict(other).items():
            if name != "errors":
                setattr(self, name, getattr(self, name) + value)
        for message, count in other.errors.items():
            self.errors[message] = self.errors.get(message, 0) + count

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def fill(
    client: Client,
    area: Area,
    coded: Coding,
    told: Callable[[Filled, int], None] = lambda _filled, _windows: None,
) -> Filled:
    """Fill the tile store in use.

    Parameters
    ----------
    client
        Client of the cluster that encodes.
    coded
        What is done to cubes: `compress_cube`, `encode_cube` or `embedding_entries`, with its
        arguments.
    told
        Called with what is done and the number of windows that are known, now and then.

    Raises
    ------
    InvalidParameterError, CollectionNotFoundError, BandMismatchError
        The area or the coding is none; anything that happens to single tiles is in `errors`.
    """
    filled, windows = Filled(), 0
    lost: list[tuple[Window, Filled]] = []
    for slice_ in slices(area):
        of_slice = list(windows_of(area, slice_))
        windows += len(of_slice)
        told(filled, windows)
        for window, one in _each(client, area, of_slice, coded):
            filled.add(one)
            if one.lost:
                lost.append((window, one))
            told(filled, windows)
    if lost:
        time.sleep(tile_store.PAUSE_SECONDS)  # until then the storage is left alone anyway
        again = _each(client, area, [window for window, _ in lost], coded)
        for (_, first), (_, second) in zip(lost, again, strict=True):
            filled.made += second.made
            filled.lost += second.lost - first.lost
            filled.failed += second.failed - first.failed
    told(filled, windows)
    return filled


def _each(
    client: Client, area: Area, windows: Sequence[Window], coded: Coding
) -> Iterator[tuple[Window, Filled]]:
    """Windows and what came of them, in order; as many as `AHEAD` are worked on at once."""
    under_way: deque[tuple[Window, Filled, tuple[Entries, list[Future[int]]] | None]] = deque()
    for window in windows:
        filled = Filled(windows=1)
        under_way.append((window, filled, _started(client, area, window, coded, filled)))
        if len(under_way) >= AHEAD:
            yield _ended(*under_way.popleft())
    for started in under_way:
        yield _ended(*started)


def _started(
    client: Client, area: Area, window: Window, coded: Coding, filled: Filled
) -> tuple[Entries, list[Future[int]]] | None:
    """A window's entries that are not there, on their way; None if all are."""
    query = replace(area.query, spatial=window.extent, temporal=window.temporal)
    try:
        cube = stac.load(list(window.items), query, area.bands, **area.options)
    except NoDataAvailableError:
        return None
    except OpenEONCError as error:
        _failed(filled, error, 1)
        return None
    made = coded(cube)
    payloads = payloads_of(made) if isinstance(made, xr.DataArray) else None
    kept = made if isinstance(made, Entries) else None if payloads is None else payloads.kept
    if kept is None:
        filled.nobodys += int(np.prod(payloads.blocks.shape)) if payloads is not None else 0
        return None
    wanted = _wanted(kept)
    missing = [place for place in wanted if place not in kept.hits]
    filled.entries += len(wanted)
    filled.there += len(wanted) - len(missing)
    filled.nobodys += sum(key is None for key in kept.keys.values())
    if not missing:
        return None
    tasks = TaskLayer([kept.entries])
    refs = [tasks.add("size", _size, block(kept.entries, *at), place=at) for at in missing]
    return kept, client.compute([tasks.delayed(ref) for ref in refs])


def _ended(
    window: Window, filled: Filled, started: tuple[Entries, list[Future[int]]] | None
) -> tuple[Window, Filled]:
    """Wait for a window, and count what came of it."""
    from distributed import wait

    if started is None:
        return window, filled
    kept, futures = started
    wait(futures)
    done = 0
    for future in futures:
        if future.status == "finished":
            done += 1
            filled.bytes += future.result()
        else:
            _failed(filled, future.exception(), 1)
    keys = [key for place, key in _wanted(kept).items() if place not in kept.hits]
    there = tile_store.opened(kept.spec).present(keys)
    made = sum(key.path in there for key in keys)
    filled.made += min(made, done)
    filled.lost += done - min(made, done)
    return window, filled


def _wanted(kept: Entries) -> dict[Place, Key]:
    """Entries with an item in them."""
    return {
        place: key
        for place, key in kept.keys.items()
        if key is not None and any(key.document["items"])
    }


def _failed(filled: Filled, error: BaseException | None, entries: int) -> None:
    filled.failed += entries
    message = error.message if isinstance(error, OpenEONCError) else repr(error)
    filled.errors[message] = filled.errors.get(message, 0) + entries


def _size(entry: Entry) -> int:
    """Bytes of an entry's payloads: all that comes back from where it was made."""
    return sum(map(len, set(entry.payloads)))
