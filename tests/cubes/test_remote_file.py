"""Files on the web: only what is looked at is fetched, and only where a guard lets it."""

from __future__ import annotations

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import embedding_cubes
import numpy as np
import pytest

from openeo_nc.cubes.addresses import Guard, public_only
from openeo_nc.cubes.embedding_reading import load_vectors
from openeo_nc.cubes.outputs import output_folder
from openeo_nc.cubes.remote_file import Source
from openeo_nc.errors import AddressRefusedError, AssetMissingError
from openeo_nc.processes.save_result import save_result


@pytest.fixture
def serve():
    """Serves bytes under a name; `ranges=False` as a server that knows none."""
    servers = []

    def start(data, *, ranges=True):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if "missing" in self.path:
                    self.send_error(404)
                    return
                told, body = self.headers.get("Range"), data
                if ranges and told:
                    first, last = map(int, told.removeprefix("bytes=").split("-"))
                    body = data[first : last + 1]
                asked.append(len(body))
                self.send_response(206 if ranges and told else 200)
                if ranges and told:
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_is_read_where_it_is_sought(serve, ranges):
    data = np.random.default_rng(0).bytes(5_000_000)
    url, asked = serve(data, ranges=ranges)
    with Source(href=f"{url}/x").open() as file:
        file.seek(-8, 2)
        assert file.read() == data[-8:]
        file.seek(3_000_000)
        assert file.read(10) == data[3_000_000:3_000_010]
        assert file.seek(5, 1) == 3_000_015
    assert (sum(asked) < 3_000_000) if ranges else (asked == [5_000_000])


def test_what_is_not_there(serve):
    url, _ = serve(b"x")
    assert not Source(href=f"{url}/missing").exists()
    assert Source(href=f"{url}/there").exists()
    with pytest.raises(AssetMissingError):
        load_vectors(f"{url}/missing.parquet")


def test_a_table_on_the_web(serve, tmp_path):
    cube = embedding_cubes.cube("int8")
    with output_folder(tmp_path / "out") as outputs:
        save_result(cube, "PARQUET")
    url, _ = serve(outputs.saved[0].path.read_bytes())
    again = load_vectors(f"{url}/a.parquet")
    np.testing.assert_array_equal(again.transpose(*cube.dims).values, cube.values)


def test_a_store_on_the_web(tmp_path, monkeypatch):
    cube = embedding_cubes.cube("int8")
    with output_folder(tmp_path / "out"):
        save_result(cube, "ZARR")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://here")  # else https only
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            again = load_vectors(f"http://127.0.0.1:{server.server_port}/out/result.zarr")
            np.testing.assert_array_equal(again.values, cube.values)
            with pytest.raises(AssetMissingError):
                load_vectors(f"http://127.0.0.1:{server.server_port}/out/none.zarr")
        finally:
            server.shutdown()
            thread.join()


def test_a_guard_is_asked_first(serve, tmp_path):
    url, asked = serve(b"x")
    with public_only():
        for href in (f"{url}/a.parquet", f"{url}/a.npy", f"{url}/a.tif", str(tmp_path / "a.tif")):
            with pytest.raises(AddressRefusedError):
                load_vectors(href)
    with pytest.raises(AddressRefusedError):
        Source(href=f"{url}/a", guard=Guard(hosts=frozenset())).open()
    assert not asked
