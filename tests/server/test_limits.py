"""What is too many, too large or unexpected."""

from __future__ import annotations

import http.client
import logging
from urllib.parse import urlsplit

import pytest
import requests
from fastapi import FastAPI
from live_server import USERS, serving, serving_app

from openeo_nc.errors import TooManyRequestsError
from openeo_nc.server import failures
from openeo_nc.server.access import Access
from openeo_nc.server.limits import FAILED_LOG_IN, Allowance
from openeo_nc.server.settings import Settings


def test_an_allowance_fills_again():
    now = 0.0
    allowance = Allowance(60, clock=lambda: now)
    for _ in range(60):
        allowance.spend("one")
    with pytest.raises(TooManyRequestsError):
        allowance.spend("one")
    allowance.spend("two")
    now = 1.5
    allowance.spend("one")
    with pytest.raises(TooManyRequestsError):
        allowance.spend("one")


@pytest.fixture(scope="module")
def small_url(cluster, data, tmp_path_factory):
    settings = Settings(
        data=tmp_path_factory.mktemp("small"), scheduler=cluster, development=True, users=USERS,
        max_request_bytes=1000, max_upload_bytes=2000, requests_per_minute=3 * FAILED_LOG_IN,
        catalogues=(str(data / "demo" / "catalog.json"),),
    )  # fmt: skip
    with serving(settings) as address:
        yield address


def test_limits_over_http(small_url):
    given = requests.get(f"{small_url}/credentials/basic", auth=("ada", "lovelace"), timeout=30)
    token = {"Authorization": f"Bearer basic//{given.json()['access_token']}"}
    large = requests.post(f"{small_url}/jobs", data=b"x" * 1001, headers=token, timeout=30)
    assert (large.status_code, large.json()["code"]) == (413, "RequestTooLarge")
    unsaid = requests.post(
        f"{small_url}/jobs", data=iter([b"x" * 600] * 2), timeout=30,
        headers=token | {"Content-Type": "application/json"},
    )  # fmt: skip
    assert (unsaid.status_code, unsaid.json()["code"]) == (413, "RequestTooLarge")
    upload = requests.put(f"{small_url}/files/a", data=b"x" * 1001, headers=token, timeout=30)
    assert upload.status_code == 200
    parts = requests.put(
        f"{small_url}/files/b", data=iter([b"x" * 900] * 3), headers=token, timeout=30
    )
    assert (parts.status_code, parts.json()["code"]) == (400, "FileSizeExceeded")
    listed = requests.get(f"{small_url}/files", headers=token, timeout=30).json()["files"]
    assert [file["path"] for file in listed] == ["a"]
    for _ in range(4):  # as many as a minute's requests
        last = requests.get(f"{small_url}/credentials/basic", auth=("ada", "x"), timeout=30)
    assert (last.status_code, last.json()["code"]) == (429, "TooManyRequests")
    assert last.headers["Retry-After"] == "60"
    assert requests.get(f"{small_url}/health", timeout=30).status_code == 200


def test_what_nobody_expected_is_told_without_its_details(caplog):
    app = FastAPI()
    failures.install(app)
    app.add_middleware(failures.Unexpected)

    @app.get("/")
    def broken():
        raise KeyError("password")

    with serving_app(app) as address:
        answer = requests.get(address, timeout=30)
    assert answer.status_code == 500
    assert answer.json()["code"] == "Internal"
    assert "password" not in answer.text
    (record,) = [r for r in caplog.records if answer.json()["id"] in r.getMessage()]
    assert record.exc_info


def test_logs_have_no_secrets(caplog):
    app = FastAPI()
    app.add_middleware(Access)

    @app.get("/{path:path}")
    def found(path: str):
        return path

    caplog.set_level(logging.INFO)
    with serving_app(app) as address:
        place = f"{address}/assets/signature/1/job/file.tif?secret=1"
        requests.get(place, headers={"Authorization": "token"}, timeout=30)
    (logged,) = [r.getMessage() for r in caplog.records if r.name == "openeo_nc.server.access"]
    assert "job/file.tif" in logged
    assert "signature" not in logged
    assert "secret" not in logged
    assert "token" not in logged


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NotFound"),
        ("GET", "/services", 501, "FeatureUnsupported"),
        ("DELETE", "/processes", 405, "FeatureUnsupported"),
        ("GET", "/collections?limit=0", 400, "RequestInvalid"),
        ("GET", "/collections?limit=x", 400, "RequestInvalid"),
        ("POST", "/validation", 400, "RequestInvalid"),
    ],
)
def test_errors_are_openeos(url, method, path, status, code):
    answer = requests.request(method, url + path, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"id", "code", "message", "links"}


def test_broken_requests_do_not_break_the_server(url):
    for path in ("/collections/%ff", "/files/%ff", "/jobs/%00", "//", "/process_graphs/ä"):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        connection.request("GET", path.replace("ä", "%e4"))
        assert connection.getresponse().status < 500
        connection.close()


BROKEN = [
    '{"process": {"process_graph": {"a": NaN}}}',
    '{"process": {"process_graph": {"a": -Infinity}}}',
    '{"process": {"process_graph": {"a": 1e999}}}',
    '{"process": {"process_graph": {"a": 99999999999999999999}}}',
    '{"process": {"process_graph": {"a": "\\u0000"}}}',
    '{"process": {"process_graph": {"\\ud800": 1}}}',
    '{"process": {"process_graph": {"a": ' + "[" * 300 + "]" * 300 + "}}}",
    "[" * 100_000,
    '{"title": NaN, "process": {"process_graph": {"a": {}}}}',
]


@pytest.mark.parametrize("body", BROKEN)
def test_what_looks_like_json_and_is_none(url, token, body):
    headers = token() | {"Content-Type": "application/json"}
    for path in ("/jobs", "/result"):
        answer = requests.post(url + path, data=body, headers=headers, timeout=30)
        assert answer.status_code == 400
        assert answer.json()["code"] in ("RequestInvalid", "ProcessGraphMissing")
