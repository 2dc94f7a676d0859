"""TLS as compose.tls.yaml has it: certificates of the script, a real scheduler, worker and client."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import deployment
import pytest

from openeo_nc.cluster import Certificates, connect
from openeo_nc.errors import SchedulerUnreachableError

SERVICES = deployment.document(deployment.DEPLOY / "compose" / "compose.tls.yaml")["services"]
SCRIPT = deployment.DEPLOY / "tls" / "make-certificates.sh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of certificates."""
    place = tmp_path_factory.mktemp("tls")
    for _ in range(2):
        subprocess.run([SCRIPT, place, "api", "scheduler", "worker-cpu"], check=True,
                       capture_output=True)  # fmt: skip
    return place


def environment(folder, service):
    """What a service is told, with its certificates where they are here."""
    given = SERVICES[service]["environment"]
    (mount,) = SERVICES[service]["volumes"]
    assert mount == f"./certificates/{service}:/run/tls:ro"
    return {name: value.replace("/run/tls", str(folder / service)) for name, value in given.items()}


@pytest.fixture(scope="module")
def address(folder):
    """Address of a scheduler with a worker, both with TLS."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = SERVICES["scheduler"]["command"]
    words = [sys.executable, "-m", "dask", *command[1:]]
    for old, new in (("8786", str(port)), (":8787", "127.0.0.1:0"), ("0.0.0.0", "127.0.0.1")):
        words = [new if word == old else word for word in words]
    place = f"tls://127.0.0.1:{port}"
    running = [
        subprocess.Popen(words, env={**os.environ, **environment(folder, "scheduler")},
                         stderr=subprocess.DEVNULL),
        subprocess.Popen(
            [sys.executable, "-m", "openeo_nc.cli", "worker", place, "--nthreads", "1",
             "--dashboard-address", "127.0.0.1:0"],
            env={**os.environ, **environment(folder, "worker-cpu")}, stderr=subprocess.DEVNULL,
        ),
    ]  # fmt: skip
    yield place
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(30)


def test_the_api_computes_through_tls(folder, address):
    given = environment(folder, "api")
    names = ("CA", "CERTIFICATE", "KEY")
    ca, certificate, key = (given[f"OPENEO_NC_SCHEDULER_{name}"] for name in names)
    with connect(address, certificates=Certificates(ca=ca, certificate=certificate, key=key)) as to:
        to.wait_for_workers(1, timeout=60)
        assert to.submit(sum, [1, 2]).result(60) == 3
        (worker,) = to.scheduler_info(n_workers=-1)["workers"]
        assert worker.startswith("tls://")


def test_nobody_else_gets_in(tmp_path, address):
    subprocess.run([SCRIPT, tmp_path, "stranger"], check=True, capture_output=True)
    own = tmp_path / "stranger"
    mine = Certificates(
        ca=str(own / "ca.pem"), certificate=str(own / "certificate.pem"), key=str(own / "key.pem")
    )
    with pytest.raises(SchedulerUnreachableError), connect(address, certificates=mine):
        pass


def test_keys_are_closed_to_others_on_the_machine(folder):
    subprocess.run([SCRIPT, folder / "closed", "one"], check=True, capture_output=True)
    assert (folder / "closed").stat().st_mode & 0o077 == 0
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-in", folder / "api" / "certificate.pem"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert re.search(r"DNS:api\b", text)
