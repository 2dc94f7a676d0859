"""Runs openeo-test-suite on this package: its processes, and its server over HTTP.

    python -m tests.conformance [processes] [http] [arguments of pytest, such as --processes=add,mask]

`processes` runs the process tests in this Python, `http` starts a server and runs the process tests,
those of metadata and collections, and the general ones against it. Without a name both run. The
command fails if counts or the tests that fail are not those that the files beside it state; with
arguments of pytest counts are not looked at.

Needs the suite (`make conformance` installs it) and openEO's specifications: definitions and tests
of processes in `openeo-spec/processes` and the API in `openeo-spec/openeo-api` of the folder that
OPENEO_NC_SHARED names, or of ../shared. Checkouts of https://github.com/Open-EO/openeo-processes and
https://github.com/Open-EO/openeo-api serve as well: OPENEO_PROCESSES and OPENEO_API name them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
OPTIONS = (
    "--tb=no",
    "-q",
    "-rN",
    "--disable-warnings",
    "--no-header",
    "-p",
    "openeo_test_suite.lib.pytest_plugin",
    "-p",
    "tests.conformance.counting",
)
SUITE = "openeo_test_suite.tests"
RUNS = {
    "processes": ("-p", "tests.conformance.plugin", "--runner=dask",
                  "--pyargs", f"{SUITE}.processes.processing"),
    "http": ("-p", "tests.conformance.over_http", "--runner=http",
             "--pyargs", f"{SUITE}.processes.processing", f"{SUITE}.processes.metadata",
             f"{SUITE}.collections", f"{SUITE}.general"),
}  # fmt: skip


def specification(variable: str, folder: str, contains: str) -> Path:
    """Folder of a specification: named by a variable, or in the shared folder."""
    shared = Path(os.environ.get("OPENEO_NC_SHARED") or ROOT.parent / "shared")
    places = [Path(p) for p in [os.environ.get(variable)] if p]
    places.append(shared / "openeo-spec" / folder)
    for place in places:
        if (place / contains).exists():
            return place.resolve()
    tried = ", ".join(map(str, places))
    sys.exit(f"No {contains} was found; tried {tried}.\n{__doc__}")


def lay_out(folder: Path) -> None:
    """Links as the suite looks for them: specifications, files of tests, and bodies of requests."""
    processes = specification("OPENEO_PROCESSES", "processes", "tests")
    root = folder / "assets" / "processes"
    (root / "proposals").mkdir(parents=True)
    for source, target in ((processes, root), (processes / "proposals", root / "proposals")):
        for path in source.glob("*.json"):
            (target / path.name).symlink_to(path)
        (target / "assets").symlink_to(processes / "tests" / "assets")
    (root / "tests").symlink_to(processes / "tests")
    api = specification("OPENEO_API", "openeo-api", "openapi.yaml")
    (folder / "assets" / "openeo-api").symlink_to(api)
    general = folder / "src" / "openeo_test_suite" / "tests" / "general"
    general.mkdir(parents=True)
    (general / "payload_examples").symlink_to(HERE / "payloads")


def suite(run: str, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> int:
    """Run a part of the suite; the exit status is 0 if all is as it is known to be."""
    print(f"== {run}", flush=True)  # noqa: T201
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, *OPTIONS, f"--run={run}",
               *RUNS[run], *arguments]  # fmt: skip
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    known = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment
    return subprocess.run(command, cwd=folder, env=known, check=False).returncode


def over_http(folder: Path, arguments: Sequence[str]) -> int:
    """The same against a server that is started for it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tests.conformance.backend import running

    with running(folder / "data") as (url, credentials):
        return suite("http", folder, [f"--openeo-backend-url={url}", *arguments], credentials)


def main(given: Sequence[str]) -> int:
    """Run what is named; a status other than 0 if any of it is not as expected."""
    runs = [name for name in given if name in RUNS] or list(RUNS)
    arguments = [name for name in given if name not in RUNS]
    if not any(argument.startswith("-") for argument in arguments):
        arguments.append("--counted")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(folder)
        status = [
            over_http(folder, arguments) if run == "http" else suite(run, folder, arguments, {})
            for run in runs
        ]
    return max(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
