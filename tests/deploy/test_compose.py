"""The compose files: valid, pinned, hardened, their secrets files, their parts joined as they should."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import deployment
import pytest
import yaml
from sqlalchemy.engine import make_url

from openeo_nc.server.serve import settings_of_environment

FOLDER = deployment.DEPLOY / "compose"
COMPOSE = deployment.document(FOLDER / "compose.yaml")
TLS = deployment.document(FOLDER / "compose.tls.yaml")
OURS = ("migrate", "api", "scheduler", "worker-cpu", "worker-gpu")
ONCE = {"migrate", "storage-bucket"}
"""Services that end."""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """Folder of secrets, as the script writes them."""
    folder = tmp_path_factory.mktemp("secrets") / "secrets"
    for _ in range(2):  # the second time changes nothing
        subprocess.run([FOLDER / "make-secrets.sh", folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("path", sorted(FOLDER.glob("compose*.yaml")), ids=deployment.name)
def test_they_are_compose_files(path, tmp_path):
    plain = tmp_path / "compose.yaml"  # the schema's tool does not know compose's tags
    given = deployment.document(path)
    for service in given["services"].values():
        if service.get("ports", ()) is None:
            del service["ports"]
    plain.write_text(yaml.safe_dump(given))
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema",
               "vendor.compose-spec", plain]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_services_are_pinned_and_watched(service):
    one = COMPOSE["services"][service]
    assert re.search(r":v?\d+\.\d+", one["image"]), one["image"]
    if service in ONCE:
        assert one["restart"] == "on-failure"
        return
    assert one["restart"] == "unless-stopped"
    if service not in OURS:  # ours have that of the image
        assert one["healthcheck"]["test"]


@pytest.mark.parametrize("service", OURS)
def test_our_services_are_hardened(service):
    one = COMPOSE["services"][service]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in one["security_opt"]
    assert "/tmp" in one["tmpfs"]


def test_what_is_used_is_declared():
    for kind in ("networks", "secrets", "volumes"):
        used = set()
        for service in COMPOSE["services"].values():
            for name in service.get(kind, []):
                if kind != "volumes":
                    used.add(name)
                elif not name.startswith("."):
                    used.add(name.split(":")[0])
        assert used == set(COMPOSE[kind]), kind
    assert set(TLS["services"]) - {"proxy"} <= set(COMPOSE["services"])


def test_files_that_are_mounted_are_there():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).is_file(), source


def test_dependencies_are_there_and_ready():
    for name, service in COMPOSE["services"].items():
        for other, how in service.get("depends_on", {}).items():
            assert other in COMPOSE["services"], (name, other)
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (other in ONCE), (name, other)


def test_only_users_ports_are_published_and_on_this_machine_only():
    published = {n: s["ports"] for n, s in COMPOSE["services"].items() if "ports" in s}
    assert published == {"api": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_addresses_name_services_and_their_ports():
    listening = {"scheduler": {"8786", "8787"}, "api": {"8080"}, "stac": {"8081"},
                 "storage": {"8333", "9333"}, "postgres": {"5432"}, "stac-database": {"5432"},
                 "prometheus": {"9090"}}  # fmt: skip
    text = yaml.safe_dump(COMPOSE) + (FOLDER / "make-secrets.sh").read_text()
    text += "".join(path.read_text() for path in (FOLDER / "config").iterdir())
    found = re.findall(r"(?://|@|=)([a-z][a-z-]*):(\d{4})\b", text)
    assert {host for host, _ in found} >= {"scheduler", "stac", "storage", "postgres", "prometheus"}
    for host, port in found:
        assert host == "localhost" or port in listening[host], (host, port)


def test_probes_ask_the_ports_that_commands_open():
    for name in OURS[1:]:
        service = COMPOSE["services"][name]
        probe = re.search(r":(\d+)/(\w+)$", service["environment"]["PROBE"])
        command = service["command"]
        opened = {word.lstrip(":") for word in command}
        assert probe.group(1) in opened, name
        assert probe.group(2) == ("ready" if name == "api" else "health")


def test_networks_run_on_workers_with_a_gpu():
    gpu, cpu = (COMPOSE["services"][name] for name in ("worker-gpu", "worker-cpu"))
    assert "--gpu" in gpu["command"]
    assert "--gpu" not in cpu["command"]
    assert gpu["profiles"] == ["gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_secrets_are_made_once_and_each_is_there(secrets):
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    subprocess.run([FOLDER / "make-secrets.sh", secrets], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for one in COMPOSE["secrets"].values():
        assert (secrets / Path(one["file"]).name).stat().st_size
    for service in COMPOSE["services"].values():
        for path in service.get("env_file", []):
            assert (secrets / Path(path).name).is_file()


def test_the_server_reads_its_secrets_from_their_files(secrets, monkeypatch):
    environment = COMPOSE["services"]["api"]["environment"]
    for name, value in environment.items():
        default = re.sub(r"\$\{\w+:-(.*)\}$", r"\1", value)
        monkeypatch.setenv(name, default)
    monkeypatch.setenv("OPENEO_NC_SECRETS_DIR", str(secrets))
    settings = settings_of_environment()
    assert settings.secret.get_secret_value() == (secrets / "openeo_nc_secret").read_text()
    assert settings.metrics_token.get_secret_value()
    assert settings.scheduler == "tcp://scheduler:8786"
    assert settings.catalogues == ("http://stac:8081",)
    url = make_url(settings.database_url())
    assert (url.host, url.password) == ("postgres", (secrets / "postgres_password").read_text())


def test_storage_takes_the_key_that_workers_have(secrets):
    stated = dict(line.split("=", 1) for line in (secrets / "storage.env").read_text().split())
    (identity,) = json.loads((secrets / "storage_identities").read_text())["identities"]
    (key,) = identity["credentials"]
    assert key == {
        "accessKey": stated["AWS_ACCESS_KEY_ID"], "secretKey": stated["AWS_SECRET_ACCESS_KEY"]
    }  # fmt: skip


def test_no_secret_is_in_a_committed_file():
    ignored = (FOLDER / ".gitignore").read_text().split()
    assert {"secrets/", "certificates/", ".env"} <= set(ignored)
    for path in deployment.files("*.yaml", "*.env"):
        text = path.read_text()
        assert not re.search(r"(?i)(password|secret|token)\w*\s*[:=]\s*[\"']?[0-9a-f]{8}", text)
        assert not re.search(r"://[^/\s:]+:[^/\s@]+@", text), path
