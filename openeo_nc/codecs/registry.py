"""Reads the cards of the codec packages and opens the codecs they describe.

Listing reads JSON only. An architecture's module, and with it torch, is imported when its first
codec is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openeo_nc.codecs import weights
from openeo_nc.codecs.base import Codec, CodecCard
from openeo_nc.codecs.packages import packages
from openeo_nc.errors import CardInvalidError, CodecNotFoundError

UNIVERSAL = "klt-dct"
"""The codec that takes any bands; what `auto` falls back to."""
SPECTRA = "klt-dct-spectra"
"""The same with smaller tiles, for cubes of more than `MANY_BANDS`."""
MANY_BANDS = 512

_opened: dict[tuple[str, str | None, str | None], Codec] = {}
_opening = threading.RLock()


def list_codecs() -> list[CodecCard]:
    """Every card, this package's first, then by codec id."""
    return list(_cards().values())


def get_card(codec_id: str) -> CodecCard:
    """The card of a codec id; CodecNotFoundError names the known ones."""
    try:
        return _cards()[codec_id]
    except KeyError:
        known = ", ".join(sorted(_cards())) or "none"
        raise CodecNotFoundError(f"unknown codec '{codec_id}'; known codecs: {known}") from None


def choose(
    codec_id: str, bands: Sequence[str] | None = None, *, embedding: bool = False
) -> CodecCard:
    """The card that `open_codec` would open; with `embedding`, `auto` takes one that gives them."""
    if codec_id != "auto":
        return get_card(codec_id)
    made = [
        card
        for card in list_codecs()
        if bands is not None and card.bands == tuple(bands) and card.embedding >= embedding
    ]
    return max(
        made, key=lambda card: card.rank, default=universal(0 if bands is None else len(bands))
    )


def universal(bands: int) -> CodecCard:
    """The card of the codec that takes any bands, for so many of them."""
    return get_card(SPECTRA if bands > MANY_BANDS else UNIVERSAL)


def open_codec(
    codec_id: str = "auto", *, bands: Sequence[str] | None = None, device: str | None = None
) -> Codec:
    """The codec of an id, loaded once a process for each device.

    Parameters
    ----------
    codec_id
        An id of `list_codecs`, or `auto`: of the codecs made for exactly these bands in this order
        the one of the highest rank, else `klt-dct`, with more than 512 bands `klt-dct-spectra`.
    bands
        Band names of the cube; only `auto` looks at them.
    device
        A torch device name; None lets the codec choose.

    Raises
    ------
    CodecNotFoundError, WeightsNotFoundError, WeightsInvalidError
    """
    return open_card(choose(codec_id, bands), device=device)


def open_card(
    card: CodecCard, *, device: str | None = None, weights_dirs: Sequence[Path] = ()
) -> Codec:
    """The codec of a card that need not be registered, e.g. one that a store brings along.

    Its architecture must be a module of a codec package. `weights_dirs` are searched last.
    """
    key = (card.codec_id, card.weights_sha256, device)
    with _opening:
        if key not in _opened:
            load = _loader(card)
            with weights.also_in(weights_dirs):
                _opened[key] = load(card, device=device)
        return _opened[key]


def parse_card(document: Mapping[str, Any], source: str = "card") -> CodecCard:
    """A card from its JSON object; CardInvalidError says which field is wrong in which source."""
    known = {field.name: field for field in fields(CodecCard)}
    required = {name for name, field in known.items() if _required(field)}
    if missing := sorted(required - document.keys()):
        raise CardInvalidError(f"{source}: fields {missing} are missing")
    if unknown := sorted(document.keys() - known.keys()):
        raise CardInvalidError(f"{source}: fields {unknown} are unknown")
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in document.items()
    }
    for name, value in values.items():
        if not _KINDS[str(known[name].type)](value):
            raise CardInvalidError(
                f"{source}: field '{name}' is {document[name]!r}, expected {known[name].type}"
            )
    card = CodecCard(**values)
    for fault, found in _faults(card):
        if found:
            raise CardInvalidError(f"{source}: {fault}")
    return card


def card_document(card: CodecCard) -> dict[str, Any]:
    """The JSON object of a card; `parse_card` reads it back."""
    document = asdict(card)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in document.items()}


@cache
def _cards() -> Mapping[str, CodecCard]:
    cards: dict[str, CodecCard] = {}
    for folder in packages().values():
        for path in sorted((folder / "cards").glob("*.json")):
            card = _read(path)
            if card.codec_id in cards:
                raise CardInvalidError(f"{path}: codec '{card.codec_id}' has another card")
            cards[card.codec_id] = card
    return cards


def _read(path: Path) -> CodecCard:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CardInvalidError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CardInvalidError(f"{path}: a card is a JSON object")
    card = parse_card(document, str(path))
    if card.codec_id != path.stem:
        raise CardInvalidError(f"{path}: the card is of codec '{card.codec_id}'")
    return card


def _loader(card: CodecCard) -> Callable[..., Codec]:
    for package in packages():
        name = f"{package}.{card.architecture}"
        if importlib.util.find_spec(name) is not None:
            load = getattr(importlib.import_module(name), "load", None)
            if callable(load):
                found: Callable[..., Codec] = load
                return found
    raise CardInvalidError(
        f"codec '{card.codec_id}' is of architecture '{card.architecture}', "
        f"which no codec package has: {', '.join(packages())}"
    )


def _required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _strings(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": _integer,
    "int | None": lambda value: value is None or _integer(value),
    "float": _number,
    "float | None": lambda value: value is None or _number(value),
    "tuple[str, ...]": _strings,
    "tuple[str, ...] | None": lambda value: value is None or _strings(value),
    "tuple[float, float, float]": lambda value: (
        isinstance(value, tuple) and len(value) == 3 and all(map(_number, value))
    ),
    "Mapping[str, Any]": lambda value: isinstance(value, Mapping),
}
"""What JSON may stand in a card's field, by the field's annotation."""


def _faults(card: CodecCard) -> list[tuple[str, bool]]:
    low, high, default = card.quality
    unfit = [name for name in card.dtypes if not _is_dtype(name)]
    return [
        (
            f"codec_id '{card.codec_id}' is not lower case letters, digits and -",
            re.fullmatch(r"[a-z0-9][a-z0-9-]*", card.codec_id) is None,
        ),
        # a store may bring a card: neither name may lead out of the codec packages
        (
            f"architecture '{card.architecture}' is no module name",
            re.fullmatch(r"[a-z][a-z0-9_]*", card.architecture) is None,
        ),
        *_file_faults("weights", card.weights, card.weights_sha256),
        *_file_faults("guard", card.guard, card.guard_sha256),
        (f"dtypes {unfit} are no integer or float dtypes", bool(unfit) or not card.dtypes),
        (f"quality {card.quality} is not [lowest, highest, default]", not low <= default <= high),
        (f"quality {card.quality} leaves 0..255", low < 0 or high > 255),
        (
            f"tile {card.tile} is no positive multiple of stride {card.stride}",
            card.stride < 1 or card.tile < 1 or bool(card.tile % max(card.stride, 1)),
        ),
    ]


def _file_faults(field: str, name: str | None, digest: str | None) -> list[tuple[str, bool]]:
    file = name or "none.safetensors"
    return [
        (
            f"{field} '{name}' is no name of a safetensors file",
            re.fullmatch(r"[A-Za-z0-9][\w.-]*\.safetensors", file) is None,
        ),
        (
            f"{field}_sha256 '{digest}' is no SHA-256 in hex of '{name}'",
            re.fullmatch(r"[0-9a-f]{64}" if name else "", digest or "") is None,
        ),
    ]


def _is_dtype(name: str) -> bool:
    try:
        dtype = np.dtype(name)
    except TypeError:
        return False
    return dtype.kind in "iuf" and dtype.name == name
