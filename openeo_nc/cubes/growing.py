"""Plans files that are written strip by strip and never lie in memory whole.

In a folder, which workers share, a chain of tasks lets a hidden file grow and names it at its end.
Object storage has no files that grow: there the strips are set aside as objects, and one task
gathers them in a file of its own machine and puts that into place.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_nc.cubes.ledger import Written, file_written
from openeo_nc.cubes.object_store import ObjectPath
from openeo_nc.cubes.places import Place, remove
from openeo_nc.cubes.strips import Array, joined
from openeo_nc.errors import OutputExistsError

if TYPE_CHECKING:
    from dask._task_spec import TaskRef

    from openeo_nc.cubes.outputs import Outputs
    from openeo_nc.cubes.task_layer import TaskLayer

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where nothing more can be stored."""
_PROBE_BYTES = 1 << 20

Filling = tuple[Callable[[Path, Array], None], tuple["TaskRef", ...]]
"""What writes a strip into the file, and the strip's blocks from west to east."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a file comes to be; functions that tasks carry to workers."""

    create: Callable[[Path], None]
    """Makes the file without data, whatever is at its path."""
    finish: Callable[[Path, Path], None]
    """Makes the finished file, the second path, of the first, which may be gone then."""


def grown(
    tasks: TaskLayer, outputs: Outputs, path: Place, mark: str, growth: Growth,
    fillings: Sequence[Filling],
) -> TaskRef:  # fmt: skip
    """The task that finishes the file at `path`; gives its `Written`."""
    if isinstance(path, ObjectPath):
        return _gathered(tasks, path, mark, growth, fillings)
    part = path.with_name(f".{path.name}.part")
    outputs.discards.append(partial(part.unlink, missing_ok=True))
    last = tasks.add("create", _create, part, growth, place=(path.name,))
    for number, (fill, blocks) in enumerate(fillings):
        last = tasks.add("write", _fill, last, part, fill, blocks, place=(path.name, number))
    return tasks.add("finish", _finish, last, part, path, growth, mark, place=(path.name,))


def _create(part: Path, growth: Growth) -> None:
    _tried(part, growth.create, part)


def _fill(
    _: None, part: Path, fill: Callable[[Path, Array], None], blocks: Sequence[Array]
) -> None:
    _tried(part, fill, part, joined(blocks))


def _finish(_: None, part: Path, path: Path, growth: Growth, mark: str) -> Written:
    if path.exists():
        raise OutputExistsError(f"{path} exists; nothing in it was touched.")
    final = path.with_name(f".{path.name}.final")
    _tried(part, growth.finish, part, final)
    os.replace(final, path)
    part.unlink(missing_ok=True)
    return file_written(path, mark)


def _tried(part: Path, act: Callable[..., None], *arguments: Any) -> None:
    """Act on a growing file. GDAL and HDF5 do not say when they fail for want of space; this does.

    Raises
    ------
    OSError
        With the number of the system, if there is no space for more of the file.
    """
    try:
        act(*arguments)
        return
    except Exception:  # neither library has one class for what it raises
        lack = _lack_of_space(part)
        if lack is None:
            raise
    raise lack  # out here: as its context GDAL's errors could not be pickled


def _lack_of_space(part: Path) -> OSError | None:
    """What the system says if a file beside this one, as long, is to have some bytes more."""
    reached = part.stat().st_size if part.exists() else 0
    try:
        with tempfile.TemporaryFile(dir=part.parent) as probe:
            probe.seek(reached)
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        return OSError(error.errno, error.strerror) if error.errno in NO_SPACE else None
    return None


# --- object storage ------------------------------------------------------------------------------


def _gathered(
    tasks: TaskLayer, path: ObjectPath, mark: str, growth: Growth, fillings: Sequence[Filling]
) -> TaskRef:
    aside = path.with_name(f".{path.name}.strips")
    there = [
        tasks.add("strip", _set_aside, aside / str(number), blocks, place=(path.name, number))
        for number, (_, blocks) in enumerate(fillings)
    ]
    fills = [fill for fill, _ in fillings]
    gather = partial(_gather, aside, path, growth, fills, mark)
    return tasks.add("gather", gather, there, place=(path.name,))


def _set_aside(place: ObjectPath, blocks: Sequence[Array]) -> None:
    data = io.BytesIO()
    np.save(data, joined(blocks), allow_pickle=False)
    place.write_bytes(data.getvalue())


def _gather(
    aside: ObjectPath, path: ObjectPath, growth: Growth,
    fills: Sequence[Callable[[Path, Array], None]], mark: str, there: Sequence[None],
) -> Written:  # fmt: skip
    if path.is_file():  # this very task ran before, and its worker died
        return file_written(path, mark)
    with tempfile.TemporaryDirectory() as folder:
        part, final = Path(folder, "part"), Path(folder, "final")
        _tried(part, growth.create, part)
        for number, fill in enumerate(fills):
            data = io.BytesIO((aside / str(number)).read_bytes())
            _tried(part, fill, part, np.load(data, allow_pickle=False))
        _tried(part, growth.finish, part, final)
        path.upload(final)
    remove(aside)
    return file_written(path, mark)
