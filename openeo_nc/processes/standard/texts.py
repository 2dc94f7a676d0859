"""Strings: searched and joined; null gives null."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

__all__ = ["text_begins", "text_concat", "text_contains", "text_ends"]


def text_begins(data: str | None, pattern: str, case_sensitive: bool = True) -> bool | None:
    """Whether a text begins with another."""
    if data is None:
        return None
    return _cased(data, case_sensitive).startswith(_cased(pattern, case_sensitive))


def text_ends(data: str | None, pattern: str, case_sensitive: bool = True) -> bool | None:
    """Whether a text ends with another."""
    if data is None:
        return None
    return _cased(data, case_sensitive).endswith(_cased(pattern, case_sensitive))


def text_contains(data: str | None, pattern: str, case_sensitive: bool = True) -> bool | None:
    """Whether a text has another in it."""
    if data is None:
        return None
    return _cased(pattern, case_sensitive) in _cased(data, case_sensitive)


def text_concat(data: Sequence[Any], separator: Any = "") -> str:
    """All values as text, the separator between them; null, true and false as JSON has them."""
    return _text(separator).join(map(_text, data))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cased(text: str, case_sensitive: bool) -> str:
    return text if case_sensitive else text.casefold()
