"""An S3 server on this machine, moto's, behind a proxy that fails as it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "results"
URL = f"s3://{BUCKET}/jobs"


class Storage:
    """What tests ask of the server: its variables, its failures, and what it was asked for."""

    def __init__(self, backend):
        self.backend = backend
        self.asked = []
        self.delay = 0.0
        self.failing = lambda method, path: False
        self.lock = threading.Lock()
        storage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                storage.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

            def log_message(self, *_):
                pass

        self.proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.proxy.daemon_threads = True
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.server_port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "OPENEO_NC_STORAGE_SECONDS": "3",
        }

    def reset(self):
        """Answer well again, and forget."""
        self.asked.clear()
        self.delay, self.failing = 0.0, lambda method, path: False

    def fails_twice(self):
        """Answer the first two requests of each method and path with 503."""
        seen = Counter()

        def failing(method, path):
            seen[method, path] += 1
            return seen[method, path] <= 2

        self.failing = failing

    def handle(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        copied = "x-amz-copy-source" in request.headers
        with self.lock:
            fails = self.failing(request.command, request.path)
            self.asked.append((request.command, request.path, copied, fails))
        time.sleep(self.delay)
        if fails:
            request.send_response(503)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        connection = http.client.HTTPConnection(*self.backend, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                request.send_header(name, value)
        size = answer.getheader("Content-Length") if request.command == "HEAD" else len(data)
        request.send_header("Content-Length", str(size or 0))
        request.end_headers()
        request.wfile.write(data)


@contextmanager
def storage():
    """A storage with one empty bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    backend = server.get_host_and_port()
    connection = http.client.HTTPConnection(*backend, timeout=60)
    connection.request("PUT", f"/{BUCKET}")
    assert connection.getresponse().status == 200
    connection.close()
    made = Storage(backend)
    try:
        yield made
    finally:
        made.proxy.shutdown()
        made.proxy.server_close()
        server.stop()
