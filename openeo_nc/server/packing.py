"""Packs results that are several files, or a store, into the one file that a download is.

A store becomes a ZIP without compression, which Zarr opens as it is; several results become a tar
with a folder for each store, as openEO recommends.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from openeo_nc.cubes.places import Place, below

_BLOCK = 1 << 20


def packed(paths: Sequence[Path], folder: Path, name: str = "results") -> Path:
    """One file in `folder` for files and stores: the file itself if it is only one.

    Parameters
    ----------
    paths
        Files, and folders of stores.
    folder
        Where the packed file is written.
    """
    if len(paths) == 1 and paths[0].is_file():
        return paths[0]
    if len(paths) == 1:
        target = folder / f"{paths[0].name}.zip"
        with target.open("wb") as file:
            file.writelines(zipped(paths[0]))
        return target
    target = folder / f"{name}.tar"
    with tarfile.open(target, "w") as archive:
        for path in paths:
            archive.add(path, path.name)
    return target


def zipped(store: Place) -> Iterator[bytes]:
    """The bytes of a ZIP file with all files of a folder, made while they are taken."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        files: list[Place] = [path for path in store.rglob("*") if path.is_file()]
        for path in sorted(files, key=str):
            info = zipfile.ZipInfo(below(path, store).as_posix())
            info.file_size = path.stat().st_size
            with path.open("rb") as file, archive.open(info, "w") as member:
                while block := file.read(_BLOCK):
                    member.write(block)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken; has no position, so that ZipFile looks not back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)  # type: ignore[call-overload]  # anything with a buffer
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since this was last asked."""
        joined = b"".join(self._parts)
        self._parts.clear()
        return joined
