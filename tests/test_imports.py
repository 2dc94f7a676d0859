"""Imports run one way, and torch stays where networks are: read from the source, not by running it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "openeo_nc"
MODULES = sorted(PACKAGE.rglob("*.py"))

ANYWHERE = {"errors", "log_lines", "metrics", "sentinel2"}
# What each part may import of the package, besides itself and ANYWHERE.
BELOW = {
    "errors": set(),
    "log_lines": set(),
    "metrics": set(),
    "sentinel2": set(),
    "economics": set(),
    "resources": set(),
    "codecs": {"resources"},
    "models": {"codecs"},
    "inference": {"codecs", "models"},
    "training": {"codecs", "models", "benchmarks"},
    "cubes": {"codecs", "models", "inference", "resources"},
    "report": {"cubes"},
    "search": {"cubes"},
    "ml": {"cubes"},
    "udf": {"cubes"},
    "processes": {
        "codecs",
        "models",
        "inference",
        "cubes",
        "ml",
        "report",
        "resources",
        "search",
        "udf",
    },
    "graphs": {"search", "codecs", "udf", "inference", "cubes", "ml", "processes", "resources"},
    "jobs": {
        "codecs",
        "udf",
        "inference",
        "cubes",
        "processes",
        "graphs",
        "cluster",
        "economics",
        "resources",
    },
    "server": {
        "search",
        "codecs",
        "udf",
        "inference",
        "cubes",
        "processes",
        "graphs",
        "jobs",
        "cluster",
        "economics",
        "demo",
    },
    "client": {"codecs", "cubes", "models", "resources", "processes"},
    "benchmarks": {
        "search",
        "codecs",
        "models",
        "udf",
        "inference",
        "cubes",
        "processes",
        "graphs",
        "resources",
        "tables",
        "cluster",
    },
    "cluster": {"inference"},
    "tables": {"codecs", "cubes"},
    "demo": {
        "codecs",
        "inference",
        "cubes",
        "report",
        "processes",
        "graphs",
        "benchmarks",
        "cluster",
    },
    "cli": None,  # on top: anything
    "__init__": None,  # the public API: anything
}
TORCH = {"codecs", "models", "inference", "training"}
FOREIGN_TO_CODECS = {"xarray", "dask", "distributed", "openeo", "pystac", "rioxarray", "rasterio"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at whatever depth, with the line."""
    package = ["openeo_nc", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "openeo_nc":  # from openeo_nc import cubes: the name is the part
                for alias in node.names:
                    yield f"openeo_nc.{alias.name}", node.lineno
            else:
                yield module, node.lineno


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_run_one_way(path):
    part = part_of(path)
    assert part in BELOW, f"{part} is a new part of the package; say here what it may import"
    allowed = BELOW[part]
    if allowed is None:
        return
    for module, line in imports(path):
        if module.split(".")[0] != "openeo_nc":
            continue
        other = module.split(".")[1]
        assert other in allowed | {part, *ANYWHERE}, f"{name(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_torch_stays_with_the_networks(path):
    if part_of(path) in TORCH:
        return
    for module, line in imports(path):
        assert module.split(".")[0] != "torch", f"{name(path)}:{line} imports torch"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_http_stays_in_the_server_and_databases_behind_it(path):
    kept = {"fastapi": "server", "starlette": "server", "uvicorn": "server", "sqlalchemy": "jobs"}
    for module, line in imports(path):
        part = kept.get(module.split(".")[0], part_of(path))
        assert part == part_of(path), f"{name(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) == "codecs"], ids=name)
def test_codecs_know_nothing_of_cubes(path):
    for module, line in imports(path):
        assert module.split(".")[0] not in FOREIGN_TO_CODECS, f"{name(path)}:{line}: {module}"


@pytest.mark.parametrize(
    "module", ["openeo_nc", "openeo_nc.codecs.zarr", "openeo_nc.cli", "openeo_nc.processes"]
)
def test_importing_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"import {module} loads torch"
