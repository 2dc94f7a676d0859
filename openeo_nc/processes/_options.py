"""Reads the `options` object of a process: known names only, so that a typo is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openeo_nc.errors import InvalidParameterError


def take(options: Mapping[str, Any] | None, *names: str) -> dict[str, Any]:
    """The value of each name, None where it is not given.

    Raises
    ------
    InvalidParameterError
        An option of another name is given.
    """
    given = dict(options or {})
    if unknown := sorted(given.keys() - set(names)):
        raise InvalidParameterError(
            f"Unknown options: {', '.join(unknown)}. Possible: {', '.join(names) or 'none'}."
        )
    return {name: given.get(name) for name in names}
