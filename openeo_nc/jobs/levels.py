"""Severities of log entries, as openEO names and orders them."""

from __future__ import annotations

from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
"""From low to high severity."""


def from_level(level: Level) -> tuple[Level, ...]:
    """The level and those more severe."""
    return LEVELS[LEVELS.index(level) :]
