"""What a server fetches for its users: public addresses only, whatever names and redirects say."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import stac_scenes as scenes

from openeo_nc.cubes import addresses, stac
from openeo_nc.cubes.addresses import Guard, public_only
from openeo_nc.errors import AddressRefusedError

NOBODY = Guard(hosts=frozenset())


@pytest.fixture
def answering():
    """A server on this machine; gives its port and the paths that it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(302 if self.path == "/away" else 200)
            if self.path == "/away":
                self.send_header("Location", f"http://localhost:{server.server_port}/inner")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost:8080/a", "https://10.1.2.3/", "http://[::1]/",
        "http://169.254.169.254/latest/meta-data", "http://192.168.1.1/", "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://127.1/", "http://224.0.0.1/",
        "file:///etc/passwd", "/etc/passwd", "ftp://example.com/", "s3://bucket/key",
        "/vsicurl/http://127.0.0.1/x.tif", "http://name.invalid/", "http:///nothing",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(url):
    with pytest.raises(AddressRefusedError) as refused:
        NOBODY.check(url)
    assert refused.value.code == "AddressRefused"


def test_public_ones_and_those_of_the_operator_are_not():
    NOBODY.check("https://93.184.215.14/item.json")
    Guard(hosts=frozenset({"localhost"})).check("http://localhost:1/")
    Guard(hosts=frozenset({"stac.example"})).check("/data/one.tif", of="http://stac.example/item")


def test_what_a_name_says_later_is_looked_at_too(answering, monkeypatch):
    """The name leads to a public address when it is checked, and to this machine after that."""
    port, asked = answering
    monkeypatch.setattr(addresses, "_addresses", lambda host: {"93.184.215.14"})
    with pytest.raises(AddressRefusedError):
        addresses.get(f"http://localhost:{port}/inner", NOBODY)
    assert not asked


def test_redirects_are_looked_at_too(answering):
    port, asked = answering
    allowed = Guard(hosts=frozenset({"127.0.0.1"}))
    with pytest.raises(AddressRefusedError):
        addresses.get(f"http://127.0.0.1:{port}/away", allowed)
    assert asked == ["/away"]


def test_items_from_elsewhere_name_no_files_of_this_machine(tmp_path, monkeypatch):
    asset = scenes.asset(tmp_path / "B04.tif", 10, shape=(60, 60))
    item = scenes.item("date", "2022-06-01T10:30:00Z", {"B04": asset})

    def known(host):
        return {"93.184.215.14" if host == "stac.example" else "10.0.0.1"}

    monkeypatch.setattr(addresses, "_addresses", known)
    monkeypatch.setattr("openeo_nc.cubes.catalogue.read_json", lambda href, by=None: item)
    for href in (f"file://{tmp_path}/B04.tif", "http://inner.example/B04.tif", "s3://ours/B04.tif"):
        item["assets"]["B04"]["href"] = href
        with public_only(), pytest.raises(AddressRefusedError):
            stac.load("https://stac.example/item.json")


def test_catalogues_on_this_machine_are_refused_before_they_are_read(answering):
    port, asked = answering
    with public_only(), pytest.raises(AddressRefusedError):
        stac.load(f"http://127.0.0.1:{port}/item.json")
    with public_only(), pytest.raises(AddressRefusedError):
        stac.load("/etc/hostname")
    assert not asked
