"""Joins each process definition (JSON) with the function of the same name, and checks both agree.

        process_definitions/<id>.json  +  openeo_nc/processes/<id>.py: def <id>(...)

Adding a process is adding these two; openEO's own lie in `standard/`. A parameter that only one of them has, or another default,
raises when processes are first asked for, so that no graph ever runs on a wrong definition.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from openeo_nc import resources
from openeo_nc.errors import DefinitionMismatchError
from openeo_nc.processes import standard
from openeo_nc.processes._calling import EXTRAS, callable_from_graphs, takes_json

__all__ = [
    "EXTRAS",
    "Implementation",
    "check_agreement",
    "implementations",
    "standard_implementations",
    "takes_json",
]


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """One process of this package."""

    spec: Mapping[str, Any]
    """Its definition, as the openEO process schema has it."""
    function: Callable[..., Any]
    """Takes the arguments as process graphs hold them, by name."""

    @property
    def process_id(self) -> str:
        """Id of the process."""
        return str(self.spec["id"])


@cache
def implementations() -> tuple[Implementation, ...]:
    """All processes of this package, by id.

    Raises
    ------
    DefinitionMismatchError
        A definition has no function, a function no definition, or the two disagree.
    """
    modules = [
        name
        for _, name, is_package in pkgutil.iter_modules(__path__)
        if not name.startswith("_") and not is_package
    ]
    functions = {n: getattr(import_module(f"{__name__}.{n}"), n, None) for n in modules}
    return _joined(resources.process_definitions(), functions)


@cache
def standard_implementations() -> tuple[Implementation, ...]:
    """openEO's own processes that this package implements, by id; see `standard`.

    Raises
    ------
    DefinitionMismatchError
        A definition has no function, a function no definition, or the two disagree.
    """
    return _joined(resources.process_definitions() / "standard", dict(standard.functions()))


def _joined(
    folder: Path, functions: Mapping[str, Callable[..., Any] | None]
) -> tuple[Implementation, ...]:
    """Each definition in a folder with its function."""
    definitions = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if lone := sorted(set(functions).symmetric_difference(definitions)):
        raise DefinitionMismatchError(
            f"These have only one of {folder.name}/<id>.json and a function of that name: {lone}."
        )
    found = []
    for process_id, path in definitions.items():
        spec = json.loads(path.read_text(encoding="utf-8"))
        function = functions[process_id]
        if spec.get("id") != process_id or function is None or not callable(function):
            raise DefinitionMismatchError(
                f"{path.name} defines '{spec.get('id')}', and its module must have "
                f"a function '{process_id}'."
            )
        check_agreement(spec, function)
        found.append(Implementation(spec=spec, function=callable_from_graphs(function)))
    return tuple(found)


def check_agreement(spec: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise DefinitionMismatchError unless names, order and defaults of parameters agree.

    Keyword-only parameters are no matter of the definition: callers of callbacks add them.
    """
    stated = [(p["name"], _stated_default(p)) for p in spec["parameters"]]
    given = [
        (name, _REQUIRED if p.default is inspect.Parameter.empty else p.default)
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    if stated != given:
        raise DefinitionMismatchError(
            f"The definition of '{spec['id']}' has the parameters {_shown(stated)}; "
            f"its function has {_shown(given)}."
        )


_REQUIRED = "required"


def _stated_default(parameter: Mapping[str, Any]) -> Any:
    if not parameter.get("optional", False):
        return _REQUIRED
    # An empty object or list is no default a function can have without sharing it between calls.
    default = parameter.get("default")
    return None if default in ({}, []) else default


def _shown(parameters: list[tuple[str, Any]]) -> str:
    return ", ".join(f"{n} ({d if d == _REQUIRED else f'default {d!r}'})" for n, d in parameters)
