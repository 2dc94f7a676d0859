"""Fixtures of all tests, and the thread limits that keep runs comparable on small machines."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before NumPy or torch start their pools; two test runs on one machine then do not fight.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import dask
import pytest
import pytest_timeout

_REPOSITORY = Path(__file__).resolve().parents[1]


class _AtOnce:
    """Names what fails when it fails: a run that is cut off prints no summary."""

    def __init__(self, terminal) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report) -> None:
        if report.outcome in ("failed", "rerun"):
            crash = getattr(report.longrepr, "reprcrash", None) or report.longrepr
            why = str(getattr(crash, "message", crash)).strip().splitlines() or [""]
            self.terminal.ensure_newline()
            self.terminal.write_line(f"{report.outcome}: {report.nodeid} ({report.when}): {why[0]}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_AtOnce(terminal))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    """Limit the time of later tries too: pytest-timeout sets its timer once a test."""
    if getattr(item, "execution_count", 1) > 1:
        settings = pytest_timeout._get_item_settings(item)
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings)


def _shared_folder() -> Path:
    given = os.environ.get("OPENEO_NC_SHARED")
    return Path(given) if given else _REPOSITORY.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def workers_keep_their_clients():
    """Clients that workers in this process make for their tasks are nobody's default.

    Distributed makes them the default of the whole process, whichever test it is at, and what a test
    then computes waits for a cluster that has ended, or finds a scheduler configured and no client.
    """
    from distributed import Client

    made = Client.__init__

    def make(self, *arguments, **settings):
        if settings.get("name") == "worker":
            settings["set_as_default"] = False
        made(self, *arguments, **settings)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Client, "__init__", make)
        yield


@pytest.fixture(scope="module", autouse=True)
def no_scheduler_left():
    """A client that a module leaves as default would compute what later modules count here."""
    _without_default()
    yield
    _without_default()


def _without_default() -> None:
    if "distributed" in sys.modules:
        from distributed.client import _global_clients

        _global_clients.clear()
        dask.config.config.pop("scheduler", None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder (data/, schemas/); skips, saying why, where it is not at hand."""
    folder = _shared_folder()
    if not (folder / "data" / "manifest.json").is_file():
        pytest.skip(
            f"no shared data: {folder}/data/manifest.json is not there "
            "(set OPENEO_NC_SHARED to the folder that holds data/)"
        )
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """Folder of the shared real data: manifest.json, s2/, stac/."""
    return shared / "data"
