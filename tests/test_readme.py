"""The readme is true: its commands and options exist, its graphs are valid, its snippets run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from openeo_nc.cli import main
from openeo_nc.graphs import validate

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines():
    """Every `openeo-nc ...` of the readme, continued lines joined."""
    joined = README.replace("\\\n", " ")
    return re.findall(r"^    openeo-nc (.+)$", joined, re.MULTILINE)


def test_process_graphs_are_valid():
    graphs = [json.loads(text) for text in blocks("json")]
    assert graphs
    for graph in graphs:
        assert validate(graph) == []


def test_snippets_compile():
    assert len(blocks("python")) >= 3
    for number, text in enumerate(blocks("python")):
        compile(text, f"README.md, snippet {number}", "exec")


def test_first_snippet_does_what_it_says():
    names = {}
    exec(blocks("python")[0], names)  # noqa: S102  our own readme
    assert isinstance(names["payload"], bytes)
    assert (names["again"].shape, names["again"].dtype) == (
        names["tile"].shape,
        names["tile"].dtype,
    )


@pytest.mark.parametrize("line", command_lines())
def test_commands_and_their_options_exist(line):
    command, words = main, re.sub(r"[\[\]]", "", line).split()
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_make_targets_exist_and_ci_runs_the_readmes_test_command():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^    make (\w+)$", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert re.search(r"make .*\btest\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))


def test_by_hand_set_up_is_what_make_does():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert '-m pip install -c constraints.txt -e ".[dev]"' in README
    assert '-c constraints.txt -e ".[dev]"' in makefile


def test_linked_files_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in link:
            assert (ROOT / link).exists(), link
