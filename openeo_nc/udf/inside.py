"""What runs inside a sandbox: answers calls, one after the other, until the worker is gone."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from typing import Any

import xarray as xr

from openeo_nc.udf import labels
from openeo_nc.udf.confine import Cell, confine
from openeo_nc.udf.frames import Array, Channel
from openeo_nc.udf.functions import Call, CodeError, band_labels, run

_CODE = "<string>"
"""File name of code that openEO's loader has compiled."""
_LINES, _CHARACTERS = 200, 2000
"""Most lines that are told of one call, and characters of each."""


class Told(io.TextIOBase):
    """What code prints and logs during one call, line by line."""

    def __init__(self, level: str, entries: list[tuple[str, str]]) -> None:
        self._level, self._entries = level, entries
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, self._begun = (self._begun + text)[-1_000_000:].split("\n")
        for line in lines:
            tell(self._entries, self._level, line)
        return len(text)

    def flush(self) -> None:
        if self._begun:
            tell(self._entries, self._level, self._begun)
        self._begun = ""


class Handler(logging.Handler):
    """Logging of code."""

    def __init__(self, entries: list[tuple[str, str]]) -> None:
        super().__init__(logging.INFO)
        self._entries = entries

    def emit(self, record: logging.LogRecord) -> None:
        number = record.levelno
        level = "error" if number >= 40 else "warning" if number >= 30 else "info"
        tell(self._entries, level, record.getMessage())


def tell(entries: list[tuple[str, str]], level: str, line: str) -> None:
    """Add a line, unless there are too many."""
    if len(entries) < _LINES and line.strip():
        entries.append((level, _without_places(line)[:_CHARACTERS]))


def inhabit(cell: Cell, reading: int, writing: int) -> None:
    """Close this process in and answer calls until the pipe ends."""
    channel = Channel(reading, writing)
    entries: list[tuple[str, str]] = []
    sys.stdout, sys.stderr = Told("info", entries), Told("warning", entries)
    logging.basicConfig(level=logging.INFO, handlers=[Handler(entries)], force=True)
    os.environ.update(HOME=cell.folder, TMPDIR=cell.folder)
    confine(cell)
    channel.send({"layers": cell.layers})
    while True:
        try:
            header, array = channel.receive()
        except EOFError:
            return
        entries.clear()
        reply, result = answer(header, array)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        reply |= {"id": header["id"], "told": entries, "cpu": sum(os.times()[:2])}
        try:
            channel.send(reply, result)
        except OSError:
            return


def answer(header: dict[str, Any], array: Array | None) -> tuple[dict[str, Any], Array | None]:
    """The reply to a call."""
    try:
        call = Call(cube=_cube(header, array), context=header["context"], epsg=header["epsg"])
        bands = band_labels(header["code"], call) if header["trial"] else None
        result = run(header["code"], call)
        if header["order"] and set(result.dims) == set(header["order"]):
            result = result.transpose(*header["order"])
        values = result.values
        if values.dtype.kind not in "biufc" or values.dtype.itemsize > 16:
            raise CodeError(f"The function gave values of the type {values.dtype}, not numbers.")
        return _described(result, bands) | {"error": None}, values
    except BaseException as error:  # noqa: BLE001  code may raise anything; its author is told
        return {"error": _fault(error, header["code"])}, None


def _cube(header: dict[str, Any], array: Array | None) -> xr.DataArray:
    coords = {name: (name, labels.from_json(one)) for name, one in header["labels"].items()}
    return xr.DataArray(array, dims=header["dims"], coords=coords, attrs=header["attrs"])


def _described(result: xr.DataArray, bands: list[str] | None) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for dim in result.dims:
        if dim in result.coords:
            named[str(dim)] = labels.to_json(result[dim].values)
    return {"dims": [str(dim) for dim in result.dims], "labels": named, "bands": bands}


def _fault(error: BaseException, code: str) -> dict[str, Any]:
    """What is told of an exception: lines of the user's code, none of the server's."""
    source = code.splitlines()
    lines = [
        f"line {frame.lineno}, in {frame.name}: {_line(source, frame.lineno)}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == _CODE
    ]
    if isinstance(error, SyntaxError) and error.filename == _CODE:
        lines.append(f"line {error.lineno}: {_line(source, error.lineno)}")
    message = _without_places(str(error) or type(error).__name__)
    return {
        "type": "" if isinstance(error, CodeError) else type(error).__name__,
        "message": message[:_CHARACTERS],
        "lines": [line[:_CHARACTERS] for line in lines[-20:]],
    }


def _line(source: list[str], number: int | None) -> str:
    return source[number - 1].strip() if number and number <= len(source) else ""


def _without_places(text: str) -> str:
    """A text without the places where this server has its libraries."""
    for prefix in {sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(__file__))}:
        if len(prefix) > 1:
            text = text.replace(prefix, "...")
    return text
