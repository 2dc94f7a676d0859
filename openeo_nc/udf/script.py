"""The code of a user: given inline, at a URL, or in a file of their workspace."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openeo_nc.cubes import addresses
from openeo_nc.errors import (
    InvalidParameterError,
    UDFSourceError,
    WorkspaceFileNotFoundError,
)
from openeo_nc.udf.limits import Rules, rules
from openeo_nc.udf.runtimes import check_dependencies, check_runtime

CODE_BYTES = 1 << 20
"""Most bytes of a script."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """Code with what it is told, and how it runs."""

    code: str = field(repr=False)
    """Python."""
    context: str
    """JSON of what the user gave for it."""
    rules: Rules
    """How it runs."""


def script(udf: str, runtime: str, version: str | None, context: Any) -> Script:
    """A script under the rules in force.

    Parameters
    ----------
    udf
        Code of several lines, an http or https URL, or the path of a file of the user.
    runtime, version
        As `/udf_runtimes` lists them.
    context
        Any JSON.

    Raises
    ------
    UDFRuntimeError, UDFVersionError, UDFSourceError, UDFDependencyError, AddressRefusedError,
    WorkspaceFileNotFoundError
    InvalidParameterError
        The context is no JSON.
    """
    check_runtime(runtime, version)
    code = _code(udf)
    check_dependencies(code)
    try:
        text = json.dumps({} if context is None else context, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"The context of a UDF is JSON: {error}.") from error
    return Script(code=code, context=text, rules=rules())


def _code(udf: str) -> str:
    if "\n" in udf or "\r" in udf:
        code = udf.encode()
    elif udf.startswith(("http://", "https://")):
        code = _fetched(udf)
    else:
        code = _of_file(udf)
    if len(code) > CODE_BYTES:
        raise UDFSourceError(f"A UDF has at most {CODE_BYTES} bytes; this one has {len(code)}.")
    try:
        return code.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UDFSourceError("The UDF is no UTF-8 text.") from error


def _fetched(url: str) -> bytes:
    hosts = rules().hosts
    with nullcontext() if hosts is None else addresses.public_only(frozenset(hosts)):
        return addresses.fetch(url, CODE_BYTES)


def _of_file(path: str) -> bytes:
    """A file below the folder of the rules; absolute paths begin there too, as openEO has it."""
    folder = rules().files
    path = path.replace("\0", "")
    place = Path(path)
    if folder is not None:
        root = Path(folder).resolve()
        place = (root / path.lstrip("/")).resolve()
        if not place.is_relative_to(root):
            raise WorkspaceFileNotFoundError(f"File '{path}' does not exist.")
    try:
        with place.open("rb") as file:
            return file.read(CODE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise WorkspaceFileNotFoundError(
            f"File '{path}' does not exist; code itself has at least two lines."
        ) from error
