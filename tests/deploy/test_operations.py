"""The operator's page is true: its settings, commands, files, variables and alerts are those there are."""

from __future__ import annotations

import re

import click
import deployment
import pytest

from openeo_nc.cli import main

PAGE = deployment.PAGE.read_text(encoding="utf-8")


def test_the_table_of_settings_is_whole():
    missing = [row for row in deployment.settings_rows() if row not in PAGE]
    assert not missing, "put these rows into docs/operations.md:\n" + "\n".join(missing)
    stated = re.findall(r"^\| `(OPENEO_NC_\w+)` \|.*\|.*\|$", PAGE, re.MULTILINE)
    assert set(stated) == deployment.SETTINGS | OTHERS


OTHERS = {
    "OPENEO_NC_DEVICE", "OPENEO_NC_INDEXES", "OPENEO_NC_LOG_FORMAT", "OPENEO_NC_MODELS",
    "OPENEO_NC_SECRETS_DIR", "OPENEO_NC_STORAGE_SECONDS", "OPENEO_NC_THREADS", "OPENEO_NC_WEIGHTS",
}  # fmt: skip
"""Variables that are no settings of the server alone."""


def test_other_variables_are_read_by_somebody():
    text = "".join(
        path.read_text() for path in (deployment.ROOT / "openeo_nc").rglob("*.py")
        if "settings.py" not in path.name
    )  # fmt: skip
    for name in OTHERS:
        assert f'"{name}"' in text, name


def command_lines():
    return re.findall(
        r"openeo-nc ((?:serve|worker|migrate|precompute|run|codecs|bench)\b[^\n`]*)", PAGE
    )


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_commands_exist(line):
    command, words = main, line.split()
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]


def test_files_that_are_named_exist():
    named = set(re.findall(r"`((?:deploy|docs|tests|openeo_nc)/[\w/.-]+)`", PAGE))
    named |= set(re.findall(r"\]\((\w[\w.-]+\.md)", PAGE))
    assert named
    for name in named:
        assert (deployment.ROOT / name).exists() or (deployment.PAGE.parent / name).exists(), name


def test_everything_in_deploy_is_on_the_page():
    for folder in deployment.DEPLOY.iterdir():
        if folder.is_dir():
            assert f"deploy/{folder.name}" in PAGE
