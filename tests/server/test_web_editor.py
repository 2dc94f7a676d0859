"""What a browser asks before and beside the calls of a page from elsewhere, such as the Web Editor."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from openeo_api import check

EDITOR = "https://editor.openeo.org"
EXPOSED = {"location", "openeo-identifier", "openeo-costs", "link"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("POST", "/result"),
        ("PATCH", "/jobs/any"),
        ("DELETE", "/jobs/any/results"),
        ("PUT", "/files/a/b.txt"),
        ("PUT", "/process_graphs/any"),
        ("HEAD", "/assets/0/0/any"),
    ],
)
def test_preflight(url, method, path):
    asked = {
        "Origin": EDITOR,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = requests.options(url + path, headers=asked, timeout=30)
    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", EDITOR)
    assert method in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-type"} <= {name.strip() for name in allowed.split(",")}
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize("path", ["/", "/.well-known/openeo", "/conformance", "/jobs", "/nowhere"])
def test_pages_of_other_origins_read_answers_and_failures(url, path):
    answer = requests.get(url + path, headers={"Origin": EDITOR}, timeout=30)
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", EDITOR)
    exposed = answer.headers["Access-Control-Expose-Headers"].lower()
    assert {name.strip() for name in exposed.split(",")} >= EXPOSED
    assert "Set-Cookie" not in answer.headers
    assert "application/json" in answer.headers["Content-Type"]


def test_the_editor_is_linked_with_this_server(url):
    links = requests.get(url, timeout=30).json()["links"]
    (editor,) = [link["href"] for link in links if link["rel"] == "web-editor"]
    assert parse_qs(urlsplit(editor).query)["server"] == [url]


def test_a_token_is_taken_alone_or_with_its_provider(url, token):
    """openEO 1.3's form, and 1.2's."""
    named = token()["Authorization"]
    alone = f"Bearer {named.rsplit('/', 1)[1]}"
    answers = [requests.get(f"{url}/me", headers={"Authorization": given}, timeout=30)
               for given in (named, alone)]  # fmt: skip
    assert [answer.json()["name"] for answer in answers] == ["ada", "ada"]


def unsigned(**claims):
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


@pytest.mark.parametrize(
    "given",
    ["", "token", "a.b.c", f"{unsigned(sub='ada')}.", f"{unsigned(sub='ada', iss='https://e.org')}.",
     f"{unsigned(sub='ada', iss=7)}."],
)  # fmt: skip
def test_tokens_that_nobody_signed_are_refused(url, given):
    answer = requests.get(f"{url}/me", headers={"Authorization": f"Bearer {given}"}, timeout=30)
    check(answer, "/me")
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", ""), ("GET", "/any"), ("PATCH", "/any"), ("DELETE", "/any"),
     ("GET", "/any/logs")],
)  # fmt: skip
def test_services_are_told_to_be_unsupported(url, token, method, path):
    for headers in ({}, token()):
        answer = requests.request(method, f"{url}/services{path}", headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (501, "FeatureUnsupported")


def test_services_are_not_listed(url):
    endpoints = requests.get(url, timeout=30).json()["endpoints"]
    assert not [one for one in endpoints if one["path"].startswith("/services")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'{"process_graph": 1e999}']
)
def test_bodies_that_are_no_object_are_refused(url, token, body):
    for path in ("/validation", "/result", "/jobs"):
        answer = requests.post(url + path, data=body, timeout=30,
                               headers=token() | {"Content-Type": "application/json"})  # fmt: skip
        check(answer, path, "post")
        assert answer.status_code == 400
        assert answer.json()["id"] != ""


def test_validation_tells_that_there_is_no_graph(url):
    answer = requests.post(f"{url}/validation", json={}, timeout=30)
    check(answer, "/validation", "post")
    assert [error["code"] for error in answer.json()["errors"]] == ["ProcessGraphMissing"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/", 405),
        ("POST", "/collections", 405),
        ("PUT", "/jobs", 405),
        ("TRACE", "/jobs", 405),
    ],
)
def test_what_there_is_not_has_an_id(url, method, path, status):
    answer = requests.request(method, url + path, timeout=30)
    assert answer.status_code == status
    assert {"id", "code", "message", "links"} <= answer.json().keys()
    if status == 405:
        assert answer.json()["code"] == "FeatureUnsupported"
        assert answer.headers["Allow"]


def test_infinity_is_a_number_that_parsers_read(url, token):
    graph = {"n": {"process_id": "divide", "arguments": {"x": -1, "y": 0}, "result": True}}
    answer = requests.post(f"{url}/result", json={"process": {"process_graph": graph}},
                           headers=token(), timeout=60)  # fmt: skip
    assert answer.text == "-1e999"
    assert answer.json() == float("-inf")
    assert answer.headers["OpenEO-Identifier"]


def test_partial_results_of_jobs_without_results(url, token):
    save = {"n": {"process_id": "save_result", "arguments": {"data": 1, "format": "GTIFF"},
                  "result": True}}  # fmt: skip
    made = requests.post(f"{url}/jobs", json={"process": {"process_graph": save}},
                         headers=token(), timeout=30)  # fmt: skip
    place = f"{made.headers['Location']}/results"
    created = requests.get(f"{place}?partial=true", headers=token(), timeout=30)
    assert (created.status_code, created.json()["code"]) == (400, "JobNotFinished")
    requests.post(place, headers=token(), timeout=30)
    partial = requests.get(f"{place}?partial=true", headers=token(), timeout=30)
    check(partial, "/jobs/{job_id}/results")
    assert partial.json()["assets"] == {}
    assert partial.json()["openeo:status"] in ("running", "error")
    requests.delete(made.headers["Location"], headers=token(), timeout=30)
