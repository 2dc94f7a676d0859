"""The pages in docs/ are true: their commands and options exist, and so do the files they name."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import click
import pytest

from openeo_nc.cli import main
from openeo_nc.codecs.registry import list_codecs

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^    openeo-nc (.+)$", re.MULTILINE)


def command_lines():
    """Every `openeo-nc ...` of the page on benchmarks, continued lines joined."""
    indented = COMMAND.findall(BENCHMARKS.replace("\\\n", " "))
    return [*indented, *re.findall(r"`openeo-nc ([^`]+)`", BENCHMARKS)]


@pytest.mark.parametrize("line", command_lines())
def test_commands_their_options_and_codecs_exist(line):
    command, words = main, line.split()
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    named = {b for a, b in pairwise(words) if a == "--codec"}
    assert named <= {card.codec_id for card in list_codecs()}


def test_every_benchmark_is_on_a_page():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"openeo-nc bench ([a-z-]+)", pages))
    assert shown == set(main.commands["bench"].commands) - {"publish-rates"}  # makes a file of ours


def test_files_that_are_named_exist():
    named = re.findall(r"`(openeo_nc/[\w/.]+)`", BENCHMARKS)
    assert named
    for path in named:
        assert (ROOT / path).is_file(), path


def test_every_table_stands_below_its_command():
    for section in BENCHMARKS.split("\n## ")[1:]:
        if "```text" in section:
            assert COMMAND.search(section[: section.index("```text")]), section[:40]
