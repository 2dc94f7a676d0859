"""Pytest plugin: tests by names that last, and whether those fail that are known to.

The files of known failures give a reason for each; `counts.toml` says how many tests there are of
what outcome, so that none can go missing.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KEY = pytest.StashKey[str]()
SUITES = {
    "test_example.py": "processing",
    "test_process_metadata.py": "metadata",
    "test_collections.py": "collections",
    "test_compliance.py": "compliance",
}
"""The suite's parts, by file."""
SKIPPED = {
    "HTTP cannot carry cubes": "datacubes not implemented yet",
    "HTTP cannot carry labelled arrays": "labeled arrays not implemented yet",
    "HTTP cannot carry NaN and infinity": "NaN and infinity are not JSON",
}
"""Why tests are skipped, by what the suite says."""


def pytest_addoption(parser):
    parser.addoption("--run", default="processes", help="the run whose known failures count")
    parser.addoption("--counted", action="store_true", help="whether counts must be as known")


def pytest_collection_modifyitems(items):
    """Tests get names that do not change with the order of files: process and position."""
    seen = Counter()
    for item in items:
        name = item.name
        if "process_id" in getattr(getattr(item, "callspec", None), "params", {}):
            process_id = item.callspec.params["process_id"]
            name = f"{process_id}[{seen[process_id]}]"
            seen[process_id] += 1
        item.stash[KEY] = f"{_suite(item.nodeid)}:{name}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().conformance_key = item.stash[KEY]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """The exit status is 0 if what is known to fail failed, and nothing else did."""
    config = session.config
    if config.getoption("--as-is", default=None):
        return
    seen = config.pluginmanager.get_plugin("terminalreporter").stats
    failed, passed = _keys(seen, "failed"), _keys(seen, "passed")
    if failed | passed and "error" not in seen:
        known = known_failures(config.getoption("--run")).keys()
        wrong = bool(failed - known or passed & known)
        if config.getoption("--counted"):
            wrong |= _counts(seen) != _expected(config)
        session.exitstatus = int(wrong)


def pytest_terminal_summary(terminalreporter, config):
    """Failures by their known reasons, and how many there are of all."""
    seen, write = terminalreporter.stats, terminalreporter.write_line
    if not config.getoption("--as-is", default=None):
        _write_reasons(seen, write, known_failures(config.getoption("--run")))
    for suite, counts in sorted(_counts(seen).items()):
        found = ", ".join(f"{counts.get(o, 0)} {o}" for o in ("passed", "failed", "skipped"))
        write(f"conformance, {suite}: {found}")
    if config.getoption("--counted") and _counts(seen) != _expected(config):
        write(f"expected of counts.toml: {_expected(config)}")


def _write_reasons(seen, write, known):
    by_reason = defaultdict(list)
    for key in sorted(_keys(seen, "failed")):
        by_reason[known.get(key, "unknown: not among the known failures")].append(key)
    for report in seen.get("skipped", []):
        by_reason[f"skipped: {_why(report)}"].append(report.conformance_key)
    for reason, keys in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        write(f"{len(keys):4d} {reason}")
        write(f"     {', '.join(keys)}")
    if repaired := sorted(_keys(seen, "passed") & known.keys()):
        write(f"known failures that pass: {', '.join(repaired)}")


def _why(report):
    said = str(report.longrepr[2])
    return next((why for why, text in SKIPPED.items() if text in said), said)


def _suite(nodeid):
    """Which of the suite's parts a test belongs to."""
    return SUITES[nodeid.partition("::")[0].rsplit("/", 1)[-1]]


def _keys(stats, outcome):
    return {report.conformance_key for report in stats.get(outcome, [])}


def _counts(stats):
    """Tests by suite and outcome."""
    counts = defaultdict(Counter)
    for outcome in ("passed", "failed", "skipped"):
        for key in _keys(stats, outcome):
            counts[key.partition(":")[0]][outcome] += 1
    return {suite: dict(of) for suite, of in counts.items()}


def _expected(config):
    counts = tomllib.loads((HERE / "counts.toml").read_text(encoding="utf-8"))
    return counts[config.getoption("--run")]


@cache
def known_failures(run):
    """Reason by test; what fails in Python fails over HTTP as well, where HTTP can carry it."""
    reasons = _reasons("known_failures.toml", "processing:")
    return reasons if run == "processes" else reasons | _reasons("known_failures_http.toml")


def _reasons(name, prefix=""):
    families = tomllib.loads((HERE / name).read_text(encoding="utf-8"))
    return {
        f"{prefix}{test}": f"{family}: {of['reason']}"
        for family, of in families.items()
        for test in of["tests"]
    }
