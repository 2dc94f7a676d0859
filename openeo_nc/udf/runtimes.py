"""Runtimes of UDFs: the Python that runs here, with the libraries that it has."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from openeo.udf.run_code import extract_udf_dependencies
from packaging.requirements import InvalidRequirement, Requirement

from openeo_nc.errors import UDFDependencyError, UDFRuntimeError, UDFVersionError

PYTHON = "Python"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARIES = (
    "geopandas", "h5netcdf", "imagecodecs", "joblib", "numpy", "onnxruntime", "openeo", "pandas",
    "pyproj", "rasterio", "rioxarray", "scikit-image", "scikit-learn", "scipy", "shapely", "torch",
    "xarray", "xgboost",
)  # fmt: skip
"""Libraries that are told of if they are installed."""


@cache
def libraries() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def runtimes() -> dict[str, Any]:
    """As openEO's `/udf_runtimes` has them."""
    listed = {name: {"version": number} for name, number in libraries().items()}
    return {
        PYTHON: {
            "title": f"Python {VERSION}",
            "description": "Functions of openEO's Python UDF API, run on each chunk in a process "
            "without network, files and secrets.",
            "type": "language",
            "default": VERSION,
            "versions": {VERSION: {"libraries": listed}},
        }
    }


def check_runtime(runtime: str, wanted: str | None) -> None:
    """UDFRuntimeError or UDFVersionError unless there is such a runtime; null is its default."""
    if runtime.casefold() != PYTHON.casefold():
        raise UDFRuntimeError(
            f"The runtime '{runtime}' is not supported; there is {PYTHON} {VERSION}."
        )
    if wanted is not None and wanted not in (VERSION, VERSION.split(".")[0]):
        raise UDFVersionError(
            f"The version '{wanted}' of the runtime {PYTHON} is not supported; there is {VERSION}."
        )


def check_dependencies(code: str) -> None:
    """UDFDependencyError if a script's `# /// script` block asks for what is not installed."""
    try:
        wanted = [Requirement(one) for one in extract_udf_dependencies(code) or ()]
    except (ValueError, TypeError, InvalidRequirement) as error:
        raise UDFDependencyError(f"The dependencies of the UDF cannot be read: {error}.") from error
    missing = [str(one) for one in wanted if not _installed(one)]
    if missing:
        there = ", ".join(f"{name} {number}" for name, number in libraries().items())
        raise UDFDependencyError(
            f"The UDF needs {', '.join(missing)}, which is not installed here. There are {there}."
        )


def _installed(wanted: Requirement) -> bool:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
