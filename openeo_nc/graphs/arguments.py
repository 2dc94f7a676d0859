"""Checks arguments against the parameters of a process definition, and fits them to functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

from openeo_nc.errors import InvalidParameterError, MissingParameterError, OpenEONCError
from openeo_nc.graphs.parameters import refers

Parameter = Mapping[str, Any]


def parameters_of(spec: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a process definition by name."""
    return {parameter["name"]: parameter for parameter in spec.get("parameters") or []}


def check(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[OpenEONCError]:
    """What is wrong with arguments: unknown, missing, or not as the schema asks.

    Values that hold references are not looked at; they are checked where they are known.
    """
    known = parameters_of(spec)
    for name in sorted(arguments.keys() - known.keys()):
        yield InvalidParameterError(
            f"unknown argument '{name}'; possible are {', '.join(known) or 'none'}."
        )
    for name, parameter in known.items():
        if name in arguments:
            if not refers(arguments[name]) and (fault := _fault(parameter, arguments[name])):
                yield InvalidParameterError(f"argument '{name}': {fault}")
        elif not parameter.get("optional", False):
            yield MissingParameterError(f"the argument '{name}' is required.")


def schemas(parameter: Parameter) -> list[Mapping[str, Any]]:
    """The schemas that a parameter's value may have."""
    schema = parameter.get("schema", {})
    return list(schema) if isinstance(schema, list) else [schema]


def callback_parameters(parameter: Parameter) -> list[Parameter]:
    """Parameters that the callback in this parameter gets."""
    return [p for schema in schemas(parameter) for p in schema.get("parameters", [])]


def takes_callback(parameter: Parameter) -> bool:
    """Whether process graphs in this parameter are to be called, not read as data."""
    return any(schema.get("subtype") == "process-graph" for schema in schemas(parameter))


def fitted(
    spec: Mapping[str, Any], function: Callable[..., Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments for a function: stated defaults added where it has none of its own.

    Raises
    ------
    InvalidParameterError
        The function lacks a parameter of the definition, and its value is not the default.
    """
    accepted = inspect.signature(function).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    keywords = {}
    for name, parameter in parameters_of(spec).items():
        default = parameter.get("default")
        given = name in arguments and not _left_out(parameter, arguments[name])
        value = arguments[name] if given else default
        if name in accepted or anything:
            own = name in accepted and accepted[name].default is not inspect.Parameter.empty
            if given or (not own and not anything):
                keywords[name] = value
        elif given and value != default:
            raise InvalidParameterError(
                f"argument '{name}' is not supported by this implementation of '{spec['id']}'."
            )
    return keywords


def is_json(value: Any) -> bool:
    """Whether a value is JSON's: cubes and other objects of processes are none, nor hold them."""
    if isinstance(value, Mapping):
        return all(map(is_json, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_json, value))
    return value is None or isinstance(value, bool | int | float | str)


def _left_out(parameter: Parameter, value: Any) -> bool:
    """Whether null stands for a parameter that is not given."""
    return value is None and bool(parameter.get("optional")) and bool(_fault(parameter, None, True))


def _fault(parameter: Parameter, value: Any, strict: bool = False) -> str:
    """What the schema has against a value; an empty string if nothing."""
    if (value is None and parameter.get("optional") and not strict) or not is_json(value):
        return ""
    options = schemas(parameter)
    schema = options[0] if len(options) == 1 else {"anyOf": options}
    validator = jsonschema.Draft7Validator(schema)
    error = best_match(validator.iter_errors(value))
    if error is None:
        return ""
    where = "".join(f"[{part!r}]" for part in error.absolute_path)
    return f"{where + ' ' if where else ''}{error.message}"
