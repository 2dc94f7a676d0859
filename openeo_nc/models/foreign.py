"""What adapters of other libraries' networks share: chips in, whatever they give, maps of vectors out.

Libraries give patches as bare token grids, in several layouts, with or without tokens in front that
are of no patch. Here they become `(chips, dim, y, x)` again, so that cubes can say where each lies.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import (
    BandMismatchError,
    CardInvalidError,
    InvalidParameterError,
    ModelUnavailableError,
)
from openeo_nc.models.base import ModelCard, normalised
from openeo_nc.models.layout import Layout

Array = npt.NDArray[Any]


def needed(module: str, extra: str) -> ModuleType:
    """A library of an optional extra.

    Raises
    ------
    ModelUnavailableError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelUnavailableError(
            f"The model needs '{module.partition('.')[0]}' ({error}). "
            f"pip install openeo-nc[{extra}] brings it."
        ) from error


def checked(x: Array, card: ModelCard) -> None:
    """Raise unless chips are what the card says: dates, bands, and a multiple of the stride."""
    expected = (len(card.bands),) if card.dates == 1 else (card.dates, len(card.bands))
    if x.ndim != 3 + len(expected) or x.shape[1:-2] != expected:
        shape = ", ".join(map(str, expected))
        raise BandMismatchError(f"{card.model_id} takes (chips, {shape}, y, x), not {x.shape}")
    side = Layout.of(card).side
    if card.chip is not None and x.shape[-2:] != (side, side):
        raise InvalidParameterError(f"{card.model_id} takes chips of {side} pixels, not {x.shape}")
    if any(n % card.stride for n in x.shape[-2:]) and card.pooling == "none":
        raise InvalidParameterError(
            f"sides {x.shape[-2:]} are no multiples of the stride {card.stride}"
        )


def prepared(x: Array, card: ModelCard) -> npt.NDArray[np.float32]:
    """Normalised chips with the mean where there is no data, which such networks do not know."""
    checked(x, card)
    return np.nan_to_num(normalised(np.asarray(x, np.float32), card), nan=0.0)


def in_batches(call: Callable[[Array], Array], x: Array, size: int | None) -> Array:
    """What a call gives of chips, for networks that take so many at a time and no others."""
    if size is None or size == len(x):
        return call(x)
    found = []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        lacking = size - len(part)
        full = np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)]) if lacking else part
        found.append(call(full)[: len(part)])
    return np.concatenate(found)


def vectors(
    given: Array, card: ModelCard, shape: tuple[int, int], order: tuple[str, ...] | None = None
) -> npt.NDArray[np.float32]:
    """`(chips, dim, y, x)` of what a network gave for chips of `shape` pixels.

    Parameters
    ----------
    given
        A map of patches, with vectors before or behind rows and columns; tokens in rows, those of no
        patch first; or a vector a chip.
    order
        Its dimensions, of `batch`, `embedding`, `height`, `width`, `token`; told from the sizes if
        None.

    Raises
    ------
    CardInvalidError
        It fits the card in no way.
    """
    rows, columns = (n // card.stride for n in shape)
    if order is not None:
        given = _ordered(np.asarray(given), order)
    fault = CardInvalidError(
        f"The model '{card.model_id}' gave {np.shape(given)} for chips of {shape[0]} x {shape[1]} "
        f"pixels; its card says {card.dim} values and stride {card.stride}."
    )
    if given.ndim == 2 and card.pooling != "none":
        found = given[:, :, None, None]
    elif given.ndim == 3:
        found = _of_tokens(given, card, (rows, columns), fault)
    elif given.ndim == 4 and given.shape[1] == card.dim:
        found = given
    elif given.ndim == 4 and given.shape[3] == card.dim:
        found = given.transpose(0, 3, 1, 2)
    else:
        raise fault
    if card.pooling != "none" and found.shape[2:] != (1, 1):
        found = found.mean(axis=(2, 3), keepdims=True)
    expected = (1, 1) if card.pooling != "none" else (rows, columns)
    if found.shape[1:] != (card.dim, *expected):
        raise fault
    return _unit(np.asarray(found, np.float32), card)


def _of_tokens(given: Array, card: ModelCard, patches: tuple[int, int], fault: Exception) -> Array:
    count, dim = given.shape[1:]
    if card.pooling == "cls":
        first: Array = given[:, 0, :, None, None]
        return first
    if card.pooling == "mean":
        inner = math.isqrt(count) ** 2
        mean: Array = given[:, count - inner :].mean(axis=1)[:, :, None, None]
        return mean
    if dim != card.dim or count < patches[0] * patches[1]:
        raise fault
    tokens = given[:, count - patches[0] * patches[1] :]
    found: Array = tokens.transpose(0, 2, 1).reshape(len(given), dim, *patches)
    return found


def _ordered(given: Array, order: tuple[str, ...]) -> Array:
    """Dimensions as `vectors` takes them."""
    if len(order) != given.ndim:
        raise CardInvalidError(f"The model gave {given.ndim} dimensions; expected {order}.")
    wanted = [name for name in ("batch", "token", "embedding", "height", "width") if name in order]
    if "batch" not in order:
        return _ordered(given[None], ("batch", *order))
    return given.transpose([order.index(name) for name in wanted])


def _unit(found: npt.NDArray[np.float32], card: ModelCard) -> npt.NDArray[np.float32]:
    if not card.unit_norm:
        return found
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(length, 1e-12), np.float32)
