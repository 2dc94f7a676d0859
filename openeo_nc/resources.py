"""Finds the folders that lie inside the package in a wheel and beside it in a checkout.

`process_definitions/` and `udfs/` stand at the root of the repository, where people look for them;
the wheel carries them inside the package. An editable install is a checkout.
"""

from __future__ import annotations

from pathlib import Path

from openeo_nc.errors import ResourceMissingError

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise ResourceMissingError(
        f"The folder '{name}' is neither in {_PACKAGE} nor beside it; the installation is incomplete."
    )


def process_definitions() -> Path:
    """Folder with one openEO process definition, `<process_id>.json`, a process.

    Raises
    ------
    ResourceMissingError
    """
    return _folder("process_definitions")


def udfs() -> Path:
    """Folder with one self-contained UDF, `<name>.py`, each.

    Raises
    ------
    ResourceMissingError
    """
    return _folder("udfs")
