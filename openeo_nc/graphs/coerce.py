"""Turns arguments into the objects that implementations for openeo-pg-parser-networkx expect.

The parser itself does so with anything that looks like a date, a year or an interval, wherever it
stands. Here the definition of the process decides: only a parameter that is said to be a time,
an interval or a bounding box becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openeo_nc.errors import InvalidParameterError
from openeo_nc.graphs.arguments import Parameter, schemas

_TIMES = {"date", "date-time", "time", "year", "duration"}


def coerced(parameter: Parameter, value: Any) -> Any:
    """The value as the object that its parameter's subtypes stand for, or as it is.

    Raises
    ------
    InvalidParameterError
        It is to be an interval or a bounding box, and is none.
    """
    from openeo_pg_parser_networkx import pg_schema
    from pydantic import ValidationError

    subtypes = {schema.get("subtype") for schema in schemas(parameter)}
    if subtypes & _TIMES and isinstance(value, str):
        return _time(value)
    make: Callable[[Any], Any] | None = None
    if "bounding-box" in subtypes and isinstance(value, Mapping) and "west" in value:
        make = pg_schema.BoundingBox.model_validate
    elif "temporal-interval" in subtypes and isinstance(value, list):
        make = pg_schema.TemporalInterval.model_validate
    elif "temporal-intervals" in subtypes and isinstance(value, list):
        make = pg_schema.TemporalIntervals.model_validate
    if make is None:
        return value
    try:
        return make(value)
    except (ValidationError, ValueError, TypeError) as error:
        raise InvalidParameterError(
            f"argument '{parameter['name']}': {value!r} is none: {error}"
        ) from error


def _time(value: str) -> Any:
    """The first of the parser's times that takes a string, in the parser's own order."""
    from openeo_pg_parser_networkx import pg_schema

    for kind in (pg_schema.Year, pg_schema.Date, pg_schema.DateTime, pg_schema.Duration,
                 pg_schema.Time):  # fmt: skip
        try:
            return kind.model_validate(value)
        except ValueError:
            continue
    return value
