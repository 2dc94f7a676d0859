"""Every file of deploy/ by itself: linted, and with no variable that nobody reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import deployment
import pytest

from openeo_nc.cli import main

BIN = Path(sys.executable).parent
DOCKERFILES = deployment.files("Dockerfile")
SCRIPTS = deployment.files("*.sh")
YAML = deployment.files("*.yaml")
VARIABLE = re.compile(r"\bOPENEO_NC_[A-Z0-9_]*[A-Z0-9]\b")
OF_COMPOSE = {"OPENEO_NC_HOST"}
"""Read by a compose file itself."""


def run(*command):
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=deployment.name)
def test_dockerfiles_are_linted(path):
    run(BIN / "hadolint", "--failure-threshold", "info", path)


@pytest.mark.parametrize("path", SCRIPTS, ids=deployment.name)
def test_scripts_are_linted(path):
    assert path.stat().st_mode & 0o111, "it cannot be run"
    run(BIN / "shellcheck", "--severity", "style", path)


def test_yaml_is_linted():
    rules = (
        "{extends: default, rules: {line-length: disable, document-start: disable,"
        " braces: {max-spaces-inside: 0}, comments: {min-spaces-from-content: 1},"
        " truthy: {check-keys: false}}}"
    )
    run(BIN / "yamllint", "--strict", "--config-data", rules, *YAML)


def test_variables_are_settings_or_on_the_page():
    known = deployment.SETTINGS | deployment.variables_of_page() | OF_COMPOSE
    for path in deployment.files("*"):
        if path.is_file():
            assert set(VARIABLE.findall(path.read_text())) <= known, path


def option_lists():
    """Arguments of containers, as lists."""
    for path in YAML:
        for one in deployment.documents(path):
            yield from (
                (path, each) for each in _lists(one) if "openeo-nc" in each or "dask" in each
            )


def _lists(node):
    if isinstance(node, list):
        if all(isinstance(each, str) for each in node):
            yield node
        for each in node:
            yield from _lists(each)
    elif isinstance(node, dict):
        for each in node.values():
            yield from _lists(each)


def test_options_of_containers_exist():
    from distributed.cli import dask_scheduler, dask_worker

    seen = set()
    for path, words in option_lists():
        program, command = words[0], words[1]
        if program == "dask":
            known = [dask_scheduler.main]
            assert command == "scheduler"
        else:
            known = [main.commands[command]]
            if command == "worker":
                known.append(dask_worker.main)
        options = {name for one in known for parameter in one.params for name in parameter.opts}
        options |= {name for one in known for p in one.params for name in p.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= options, (path, words)
        seen.add((program, command))
    assert seen == {("openeo-nc", c) for c in ("serve", "worker", "migrate")} | {
        ("dask", "scheduler")
    }


def test_images_run_as_nobody_and_are_pinned():
    for path in DOCKERFILES:
        lines = path.read_text().splitlines()
        bases = [line.split()[1] for line in lines if line.startswith("FROM")]
        (default,) = (line.split("=")[1] for line in lines if line.startswith("ARG PYTHON="))
        assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", default)
        assert set(bases) - {"python:${PYTHON}", "runtime"} == {"node:22.17.1-bookworm-slim"}
        assert "USER 10001:10001" in lines
        final = path.read_text().split("AS runtime")[1]
        assert not re.search(r"\b(gcc|build-essential|make|git)\b", final)
        assert re.search(r"^HEALTHCHECK", final, re.MULTILINE)
        assert 'ENTRYPOINT ["tini", "--"]' in final


def test_the_build_gets_what_the_wheel_is_built_of_and_nothing_else():
    wanted = set()
    for line in (deployment.DEPLOY / "images" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            wanted |= {word for word in line.split()[1:-1] if not word.startswith("web/")}
    ignored = (deployment.DEPLOY / "images" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == wanted
    assert "*" in ignored
    for name in wanted:
        assert (deployment.ROOT / name).exists(), name
    # hatchling must find all that pyproject.toml names
    text = (deployment.ROOT / "pyproject.toml").read_text()
    forced = re.search(r"force-include\]\n((?:.+\n)+)", text)
    named = {line.split("=")[0].strip(' "').split("/")[0] for line in forced.group(1).splitlines()}
    assert named <= wanted


def test_the_image_installs_an_extra_that_is_there():
    text = (deployment.DEPLOY / "images" / "Dockerfile").read_text()
    (extra,) = re.findall(r'pip install "\.\[(\w+)\]"', text)
    assert re.search(
        rf"^{extra} = \[", (deployment.ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
