"""A real server logs JSON lines, and in none of them a secret: of settings, of requests, or of links."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import requests

PASSWORD, SECRET, TOKEN = "corr3ct-horse-battery", "s1gning-key-of-this-server", "scraping-t0ken"
GRAPH = {
    "process": {
        "process_graph": {
            "a": {"process_id": "add", "arguments": {"x": 1, "y": 2}},
            "s": {
                "process_id": "save_result",
                "arguments": {"data": {"from_node": "a"}, "format": "JSON"},
                "result": True,
            },
        }
    }
}


@pytest.fixture(scope="module")
def server(tmp_path_factory, cluster):
    """URL of a server of its own process, the file it logs to, and its process."""
    folder = tmp_path_factory.mktemp("logged")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "openeo_nc_secret").write_text(SECRET)
    (secrets / "openeo_nc_metrics_token").write_text(f"{TOKEN}\n")
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "empty", "description": "empty",
                 "links": []}  # fmt: skip
    (folder / "catalog.json").write_text(json.dumps(catalogue))
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    environment = {
        **os.environ, "OPENEO_NC_DATA": str(folder / "data"), "OPENEO_NC_SCHEDULER": cluster,
        "OPENEO_NC_DEVELOPMENT": "true", "OPENEO_NC_USERS": json.dumps({"ada": PASSWORD}),
        "OPENEO_NC_SECRETS_DIR": str(secrets),
        "OPENEO_NC_CATALOGUES": str(folder / "catalog.json"), "OPENEO_NC_LOG_FORMAT": "json",
    }  # fmt: skip
    log = folder / "log"
    with log.open("w") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", "openeo_nc.cli", "serve", "--port", str(port)],
            env=environment, stdout=opened, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 240
    while True:
        try:
            requests.get(f"{url}/ready", timeout=5).raise_for_status()
            break
        except requests.RequestException:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
    yield url, log, process
    process.terminate()
    process.wait(60)


def test_no_secret_is_logged(server):
    url, log, process = server
    seen = {PASSWORD, SECRET, TOKEN}

    def get(path, **given):
        return requests.get(f"{url}{path}", timeout=60, **given)

    assert get("/credentials/basic", auth=("ada", "wr0ng-password")).status_code == 403
    token = get("/credentials/basic", auth=("ada", PASSWORD)).json()["access_token"]
    headers = {"Authorization": f"Bearer basic//{token}"}
    assert get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 403
    assert get("/me", headers={"Authorization": "Bearer basic//f0rged-token"}).status_code == 403
    get("/me", headers=headers).raise_for_status()
    get("/jobs?secret=in-the-query", headers=headers).raise_for_status()
    made = requests.post(f"{url}/jobs", json=GRAPH, headers=headers, timeout=60)
    job = made.headers["Location"]
    requests.post(f"{job}/results", headers=headers, timeout=60).raise_for_status()
    until = time.monotonic() + 180
    while requests.get(job, headers=headers, timeout=60).json()["status"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.2)
    environments = [child.environ() for child in psutil.Process(process.pid).children()]
    assert environments
    for one in environments:
        assert PASSWORD not in str(one)
        assert one["OPENEO_NC_DEVELOPMENT"] == "true"
    found = requests.get(f"{job}/results", headers=headers, timeout=60).json()
    links = [one["href"] for one in [*found.get("links", []), *found.get("assets", {}).values()]]
    for href in links:
        if href.startswith(url):
            requests.get(href, timeout=60)
    signatures = {part for href in links for part in re.split(r"[/.~:]", href) if len(part) >= 32}
    requests.post(f"{url}/jobs", data=b'{"broken: s3nt-in-a-body', headers=headers, timeout=60)
    process.terminate()
    assert process.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends in order, and then by the signal

    text = log.read_text()
    seen |= {token, *token.split("."), "wr0ng-password", "f0rged-token", "in-the-query",
             "s3nt-in-a-body"} | (signatures - {job.rsplit("/", 1)[-1]})  # fmt: skip
    for secret in seen:
        assert secret not in text, secret
    entries = [json.loads(line) for line in text.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(entries[0])
    assert any("'/jobs' 201" in entry["message"] for entry in entries)
