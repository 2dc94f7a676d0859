"""Servers as processes of their own, which tests may kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import requests

USER = ("ada", "lovelace")


def free_port():
    """A port that nobody has at this moment."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


class Served:
    """One `openeo-nc serve`."""

    def __init__(self, environment, ca=None):
        self.port = free_port()
        self.url = f"{'http' if ca is None else 'https'}://127.0.0.1:{self.port}"
        self.session = requests.Session()
        self.session.trust_env = False  # REQUESTS_CA_BUNDLE would be preferred to `ca`
        self.session.verify = True if ca is None else ca
        self.process = subprocess.Popen(
            [sys.executable, "-m", "openeo_nc.cli", "serve", "--port", str(self.port)],
            env={
                **os.environ,
                "OPENEO_NC_DEVELOPMENT": "true",
                "OPENEO_NC_USERS": json.dumps(dict([USER])),
                "OPENEO_NC_REQUESTS_PER_MINUTE": "100000",
                **environment,
            },
        )

    def started(self, seconds=100):
        """Wait until it serves, and log in."""
        last = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < last, "the server did not start"
            try:
                if self.session.get(f"{self.url}/ready", timeout=30).status_code == 200:
                    break
            except requests.ConnectionError:
                time.sleep(0.1)
        token = self.session.get(f"{self.url}/credentials/basic", auth=USER, timeout=30).json()
        self.session.headers["Authorization"] = f"Bearer basic//{token['access_token']}"
        return self

    def get(self, path):
        """The body of an answer."""
        answer = self.session.get(f"{self.url}{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, process):
        """Id of a job that is created and started."""
        body = {"process": process}
        made = self.session.post(f"{self.url}/jobs", json=body, timeout=60)
        made.raise_for_status()
        job_id = made.headers["OpenEO-Identifier"]
        self.session.post(f"{self.url}/jobs/{job_id}/results", timeout=60).raise_for_status()
        return job_id

    def statuses(self):
        """Statuses of all jobs by id."""
        return {job["id"]: job["status"] for job in self.get("/jobs")["jobs"]}

    def kill(self):
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def close(self):
        """End it as an operator does."""
        self.session.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
