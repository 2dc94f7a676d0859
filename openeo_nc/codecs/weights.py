"""Finds the weights that a card names, verifies their SHA-256 and reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from openeo_nc.codecs.packages import packages
from openeo_nc.errors import WeightsInvalidError, WeightsNotFoundError

FOLDERS_VARIABLE = "OPENEO_NC_WEIGHTS"
"""Environment variable: folders to search after the packages', separated as in PATH."""

GROUPS = ("openeo_nc.codecs", "openeo_nc.models")
"""Packages of these groups bring weights."""


class Card(Protocol):
    """What a card of a codec or of an embedding model says of its weights."""

    @property
    def name(self) -> str:
        """Id of the codec or model."""
        ...

    @property
    def weights(self) -> str | None:
        """File name."""
        ...

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the file, hex."""
        ...


_brought: ContextVar[tuple[Path, ...]] = ContextVar("weights_dirs", default=())


def resolve(card: Card, extra_dirs: Sequence[Path] = ()) -> Path:
    """The file that holds the card's weights, its hash verified.

    Looks into `weights/` of the codec and model packages, the folders of $OPENEO_NC_WEIGHTS, those of
    `also_in`, then `extra_dirs`. A file of the right name and the wrong content is passed over.

    Raises
    ------
    WeightsNotFoundError
        No such file is there, or the card has no weights.
    WeightsInvalidError
        Files of that name are there, none with the card's hash.
    """
    return _find(card, extra_dirs)[0]


def load(card: Card, extra_dirs: Sequence[Path] = ()) -> dict[str, npt.NDArray[Any]]:
    """The card's weights by name, as NumPy arrays; errors as in `resolve`."""
    path, data = _find(card, extra_dirs)
    try:
        return safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise WeightsInvalidError(f"{path} is no safetensors file: {error}") from error


def save(arrays: dict[str, npt.NDArray[Any]], path: Path) -> str:
    """Write arrays as safetensors and give the SHA-256 that their card must state."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    data = safetensors.numpy.save(contiguous)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def also_in(folders: Sequence[Path]) -> Iterator[None]:
    """Within it, weights are also looked for in these folders, e.g. a store's own."""
    token = _brought.set((*_brought.get(), *map(Path, folders)))
    try:
        yield
    finally:
        _brought.reset(token)


def _find(card: Card, extra_dirs: Sequence[Path]) -> tuple[Path, bytes]:
    if card.weights is None:
        raise WeightsNotFoundError(f"'{card.name}' has no weights")
    folders = [*_folders(), *_brought.get(), *map(Path, extra_dirs)]
    wrong = []
    for folder in folders:
        path = folder / card.weights
        if not path.is_file():
            continue
        data = path.read_bytes()  # hashed and parsed from one read
        if (digest := hashlib.sha256(data).hexdigest()) == card.weights_sha256:
            return path, data
        wrong.append(f"{path} has {digest}")
    if wrong:
        raise WeightsInvalidError(
            f"weights of '{card.name}' must have SHA-256 {card.weights_sha256}, "
            f"but {'; '.join(wrong)}"
        )
    raise WeightsNotFoundError(
        f"weights '{card.weights}' of '{card.name}' are in none of: "
        f"{', '.join(map(str, folders))}; set {FOLDERS_VARIABLE} to the folder that has them"
    )


def _folders() -> list[Path]:
    stated = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [f / "weights" for group in GROUPS for f in packages(group).values()] + [
        Path(s) for s in stated if s
    ]
