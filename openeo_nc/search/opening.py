"""Finds indexes by id or folder, and opens each once a process; knows their kinds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from openeo_nc.errors import InvalidParameterError
from openeo_nc.search import arrow_index, lance_index
from openeo_nc.search.arrow_index import NAME
from openeo_nc.search.index import VectorIndex
from openeo_nc.search.rows import Rows

FOLDER_VARIABLE = "OPENEO_NC_INDEXES"
"""Environment variable: folder whose folders are indexes known by their names."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]*")
_KINDS: dict[str, Any] = {
    arrow_index.KIND: arrow_index.ArrowIndex,
    lance_index.KIND: lance_index.LanceIndex,
}
KINDS = tuple(_KINDS)


def create_index(
    path: Path, rows: Iterable[Rows], *, kind: str = arrow_index.KIND, metric: str = "cosine",
    overwrite: bool = False,
) -> VectorIndex:  # fmt: skip
    """A new index of a kind; see `ArrowIndex.create`."""
    if kind not in _KINDS:
        raise InvalidParameterError(f"Kinds of index are {', '.join(KINDS)}; given {kind!r}.")
    made: VectorIndex = _KINDS[kind].create(path, rows, metric=metric, overwrite=overwrite)
    return made


def place_of(name: str) -> str:
    """Folder of the index with an id or path; InvalidParameterError if there is none."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and _ID.fullmatch(name) and holds_index(Path(folder) / name):
        return str((Path(folder) / name).absolute())
    if holds_index(Path(name)):
        return str(Path(name).absolute())
    known = ", ".join(ids()) or "none"
    raise InvalidParameterError(f"There is no index '{name[:200]}'; known by id: {known}.")


def ids() -> list[str]:
    """The indexes of the folder that the environment names."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder or not Path(folder).is_dir():
        return []
    return sorted(
        one.name for one in Path(folder).iterdir() if _ID.fullmatch(one.name) and holds_index(one)
    )


def holds_index(folder: Path) -> bool:
    """Whether an index, of whatever kind, lies in a folder."""
    return (folder / NAME).is_file()


def open_index(place: str) -> VectorIndex:
    """The index in a folder; one that was changed is opened anew."""
    try:
        changed = (Path(place) / NAME).stat().st_mtime_ns
    except OSError as error:
        raise InvalidParameterError(f"{place} is no index of vectors.") from error
    return _opened(place, changed)


@lru_cache(maxsize=8)
def _opened(place: str, changed: int) -> VectorIndex:
    try:
        kind = json.loads((Path(place) / NAME).read_text(encoding="utf-8"))["kind"]
        known = _KINDS[kind]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidParameterError(f"{place} is no index of vectors of a known kind.") from error
    index: VectorIndex = known.open(Path(place))
    return index
