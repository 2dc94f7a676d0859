"""Log lines: JSON that parses, and no secret in either form."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from openeo_nc.log_lines import JsonLines, TextLines

SECRETS = ("hunter2-and-more", "hunter2", "abc")


def record(message, *arguments, error=None):
    return logging.LogRecord("openeo_nc.x", logging.WARNING, __file__, 1, message, arguments, error)


def raised():
    try:
        raise ValueError("no login with hunter2")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("form", [TextLines, JsonLines])
def test_secrets_are_left_out_wherever_they_stand(form):
    line = form(SECRETS).format(
        record("%s and %s", "hunter2-and-more", "postgresql+pg8000://nc:s3cr3t@db:5432/nc",
               error=raised())
    )  # fmt: skip
    assert "hunter2" not in line
    assert "s3cr3t" not in line
    assert "postgresql+pg8000://nc:***@db:5432/nc" in line
    assert "ValueError" in line


def test_short_words_are_no_secrets():
    assert "abc" in TextLines(SECRETS).format(record("abc"))


def test_a_json_line_is_one_line_with_its_parts():
    line = JsonLines().format(record("first\nsecond %d", 7, error=raised()))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"] == "first\nsecond 7"
    assert (entry["level"], entry["logger"]) == ("warning", "openeo_nc.x")
    assert entry["exception"].startswith("Traceback")
    assert entry["time"].endswith("+00:00")
