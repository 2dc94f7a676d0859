"""What the tests of deploy/ share: its files, the documents in them, and a copy that may be changed."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from openeo_nc.server.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "operations.md"
SETTINGS = {f"OPENEO_NC_{name.upper()}" for name in Settings.model_fields}


def files(*patterns):
    """Files of deploy/ whose names match, in order."""
    return sorted(path for pattern in patterns for path in DEPLOY.rglob(pattern))


def name(path):
    """A file's name for test ids."""
    return str(path.relative_to(DEPLOY))


class _Loader(yaml.SafeLoader):
    """YAML with compose's own tag for lists that replace others."""


_Loader.add_constructor("!reset", lambda loader, node: None)


def documents(path):
    """All YAML documents of a file."""
    return [one for one in yaml.load_all(path.read_text(), _Loader) if one is not None]


def document(path):
    """The one document of a file."""
    (one,) = documents(path)
    return one


def variables_of_page():
    """Environment variables that the operator's page explains in a table."""
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", PAGE.read_text(), re.MULTILINE))


def pods(resource):
    """Pod specifications in a Kubernetes resource, by what they are of."""
    kind, spec = resource["kind"], resource.get("spec", {})
    if kind in ("Deployment", "StatefulSet", "Job", "DaemonSet"):
        return {kind: spec["template"]["spec"]}
    if kind == "DaskCluster":
        return {"worker": spec["worker"]["spec"], "scheduler": spec["scheduler"]["spec"]}
    if kind == "DaskWorkerGroup":
        return {"worker": spec["worker"]["spec"]}
    return {}


def settings_rows():
    """The rows of the page's table of settings, as the settings are."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        if field.default_factory is not None or default in (None, ()):
            shown = ""
        elif isinstance(default, tuple):
            shown = f"`{','.join(default)}`"
        elif isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        else:
            shown = f"`{default}`"
        rows.append(f"| `OPENEO_NC_{name.upper()}` | {shown} | {field.description} |")
    return rows
