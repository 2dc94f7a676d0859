"""Process graphs: parse, validate, resolve parameters, execute."""

from __future__ import annotations

# Not lazily: the functions have the names of their modules, which an import binds here otherwise.
from openeo_nc.graphs.execute import execute
from openeo_nc.graphs.validate import validate

__all__ = ["execute", "validate"]
