"""Opens the codec that a store names: the registered one, or the one that the store brings along.

A self-contained store has a folder `.nc` beside its arrays with `card.json` and the weights file,
and `cards/<codec_id>.json` of each other codec that its payloads may be of. It is looked into only where this installation lacks the codec or has other weights for it. The
weights' SHA-256 stands in the array's metadata and is verified either way.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.core.buffer import default_buffer_prototype
from zarr.storage import StorePath

from openeo_nc.codecs import reading, registry, weights
from openeo_nc.errors import (
    CardInvalidError,
    CodecNotFoundError,
    WeightsInvalidError,
    WeightsNotFoundError,
)

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter

    from openeo_nc.codecs.base import Codec, CodecCard

FOLDER = ".nc"
"""Folder of a store that holds what is not Zarr: card, weights, the other view's metadata."""
CARD = f"{FOLDER}/card.json"
"""Path of the codec's card in a self-contained store."""
CARDS = f"{FOLDER}/cards"
"""Folder of the cards of other codecs."""

_codecs: dict[tuple[str, str | None], Codec] = {}
_lock = threading.Lock()
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
"""Of a codec; others would lead elsewhere in the store."""


def other_card(codec_id: str) -> str:
    """Path of the card of another codec than the store's in a self-contained store."""
    return f"{CARDS}/{codec_id}.json"


@dataclass(frozen=True)
class Place:
    """The group of a store that coded arrays stand in."""

    group: StorePath
    """Where the group's zarr.json is."""

    async def read(self, name: str) -> bytes | None:
        """The object of a name relative to the group, or None."""
        found = await (self.group / name).get(default_buffer_prototype())
        return None if found is None else found.to_bytes()


def place_of(getter: ByteGetter, ndim: int) -> Place | None:
    """The group of a chunk that is read from a store; None for a chunk inside a shard."""
    if not isinstance(getter, StorePath):
        return None
    parts = getter.path.split("/")[: -(ndim + 2)]  # less array, "c", one index an axis
    return Place(StorePath(getter.store, "/".join(parts)))


async def opened(codec_id: str, weights_sha256: str | None, place: Place | None) -> Codec:
    """The codec that wrote a store, opened once a process.

    Raises
    ------
    CodecNotFoundError
        Neither this installation nor the store has a card of that id.
    WeightsNotFoundError, WeightsInvalidError
        The weights are at hand in neither.
    CardInvalidError
        The card that the store brings is none.
    """
    key = (codec_id, weights_sha256)
    if key in _codecs:
        return _codecs[key]
    try:
        return await reading.off_loop(lambda: _registered(codec_id, weights_sha256))
    except (CodecNotFoundError, WeightsNotFoundError, WeightsInvalidError) as error:
        card = None if place is None else await _card(place, key)
        if place is None or card is None:
            raise _missing(codec_id, weights_sha256, error) from error
        name = f"{FOLDER}/{card.weights}"
        data = None if card.weights is None else await place.read(name)
        if card.weights is not None and data is None:
            raise _missing(codec_id, weights_sha256, error, f"{place.group}/{name}") from error
        found = card
        return await reading.off_loop(lambda: _brought(found, data))


def _registered(codec_id: str, weights_sha256: str | None) -> Codec:
    card = registry.get_card(codec_id)
    if (card.weights_sha256 is None) != (weights_sha256 is None):
        raise WeightsNotFoundError(f"the card here names the weights {card.weights_sha256}")
    with _lock:
        key = (codec_id, weights_sha256)
        if key not in _codecs:
            # other weights of the same codec may lie in a folder that the user named
            _codecs[key] = registry.open_card(replace(card, weights_sha256=weights_sha256))
        return _codecs[key]


def _brought(card: CodecCard, data: bytes | None) -> Codec:
    """The codec of a store's own card; the file of its weights is there only while they load."""
    with _lock, tempfile.TemporaryDirectory(prefix="openeo_nc-") as folder:
        key = (card.codec_id, card.weights_sha256)
        if key not in _codecs:
            if data is not None and card.weights is not None:
                (Path(folder) / card.weights).write_bytes(data)
            _codecs[key] = registry.open_card(card, weights_dirs=[Path(folder)])
        return _codecs[key]


async def _card(place: Place, key: tuple[str, str | None]) -> CodecCard | None:
    """The card that a store brings of a codec id and weights, if it does."""
    names = [CARD, other_card(key[0])] if _NAME.fullmatch(key[0]) else [CARD]
    for name in names:
        text = await place.read(name)
        if text is None:
            continue
        try:
            document = json.loads(text)
        except ValueError as error:
            raise CardInvalidError(f"{place.group}/{name} is not JSON: {error}") from error
        card = registry.parse_card(document, f"{place.group}/{name}")
        if (card.codec_id, card.weights_sha256) == key:
            return card
    return None


def _missing(
    codec_id: str, weights_sha256: str | None, error: Exception, tried: str = ""
) -> Exception:
    """The error of weights that are nowhere, saying which and where they were looked for."""
    if isinstance(error, CodecNotFoundError) and weights_sha256 is None:
        return error
    return WeightsNotFoundError(
        f"The store was written by codec '{codec_id}' with weights of SHA-256 {weights_sha256}, "
        f"which are not at hand: {error}. "
        + (f"The store's own {tried} is missing. " if tried else "The store brings none. ")
        + f"Install the release that wrote it, or put the weights into a folder of "
        f"${weights.FOLDERS_VARIABLE}."
    )
