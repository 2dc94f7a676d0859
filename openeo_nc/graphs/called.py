"""Finds which of a user's processes a graph may run, those that they run in turn among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def called_processes(document: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """The user's processes that a process names, by id; read one by one from the mapping.

    Parameters
    ----------
    document
        A process graph, or an object that has one.
    own
        The user's processes by id.
    """
    found: dict[str, Any] = {}
    todo = set(_named(document))
    seen: set[str] = set()
    while todo:
        process_id = todo.pop()
        seen.add(process_id)
        process = own.get(process_id)
        if process is not None:
            found[process_id] = process
            todo |= set(_named(process)) - seen
    return found


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("process_id"), str):
            yield value["process_id"]
        for member in value.values():
            yield from _named(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _named(member)
