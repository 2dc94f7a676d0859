"""What a browser gets at `/`, what programs get there, and what browsers may do with answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests
from fastapi import FastAPI
from live_server import serving_app

from openeo_nc.benchmarks import published
from openeo_nc.codecs.registry import list_codecs
from openeo_nc.errors import InvalidParameterError
from openeo_nc.server import page
from openeo_nc.server.headers import page_policy
from openeo_nc.server.measured import codecs
from openeo_nc.server.settings import Settings

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(scope="module")
def unbuilt(tmp_path_factory):
    """An application with a `/` for programs and no built page; its URL."""
    app = FastAPI()
    page.install(app, tmp_path_factory.mktemp("static"))
    app.get("/")(lambda: {"api_version": "1.2.0"})
    with serving_app(app) as place:
        yield place


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/json;q=0.5, TEXT/HTML"])
def test_browsers_get_html(unbuilt, accept):
    answer = requests.get(unbuilt, headers={"Accept": accept}, timeout=30)
    assert answer.headers["content-type"].startswith("text/html")
    assert "make page" in answer.text
    assert requests.head(unbuilt, headers={"Accept": accept}, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", "application/json", "application/json, text/plain, */*", "text/html;q=0",
     "text/html;q=0.1, application/json", "text/html;q=often"],
)  # fmt: skip
def test_programs_get_json(unbuilt, accept):
    assert requests.get(unbuilt, headers={"Accept": accept}, timeout=30).json() == {
        "api_version": "1.2.0"
    }


def test_without_a_page_its_files_are_not_found(unbuilt):
    assert requests.get(f"{unbuilt}/page/icon.svg", timeout=30).status_code == 404


def test_built_files_are_served_and_no_others(tmp_path):
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "index.html").write_text("<!doctype html>built")
    (tmp_path / "page" / "assets" / "a.js").write_text("export default 1;" * 100)
    app = FastAPI()
    page.install(app, tmp_path)
    with serving_app(app) as place:
        index = requests.get(place, headers={"Accept": BROWSER}, timeout=30)
        assert index.text == "<!doctype html>built"
        script = requests.get(f"{place}/page/assets/a.js", timeout=30)
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["content-encoding"] == "gzip"
        for path in ("/page/../index.html", "/page/%2e%2e/index.html", "/page/assets"):
            assert requests.get(place + path, timeout=30).status_code == 404


def test_the_page_may_ask_this_server_only(url):
    answer = requests.get(url, headers={"Accept": BROWSER}, timeout=30)
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "Accept" in answer.headers["Vary"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_the_page_may_ask_the_providers_of_log_ins(tmp_path):
    provider = {"id": "egi", "title": "EGI", "issuer": "https://aai.example/auth/realms/egi"}
    settings = Settings(
        data=tmp_path, oidc=[provider | {"clients": ["me"]}], url="https://api.example/openeo"
    )
    parts = dict(part.split(" ", 1) for part in page_policy(settings).split("; "))
    assert parts["connect-src"] == "'self' https://api.example https://aai.example"
    assert parts["script-src"] == "'self'"


def test_everything_else_is_shown_in_a_sandbox(url):
    for path in ("/", "/collections", "/nothing", "/jobs", "/assets/0/0/a.html"):
        answer = requests.get(url + path, timeout=30)
        assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Accept" in requests.get(url, timeout=30).headers["Vary"]


def test_codecs_are_those_of_the_cards(url):
    answer = requests.get(f"{url}/page/codecs.json", timeout=30).json()
    assert [one["id"] for one in answer["codecs"]] == [card.codec_id for card in list_codecs()]
    assert answer["auto"] == {"sentinel-2": "s2l2a-restoration", "any": "klt-dct"}
    assert "/page" not in str(requests.get(url, timeout=30).json()["endpoints"])


def test_the_page_shows_the_rates_of_the_docs():
    text = DOCS.read_text(encoding="utf-8")
    table = text[text.index("bpppb at  ") :].split("```")[0].splitlines()
    measured = codecs()["measured"]
    assert [f"{target:g} dB" for target in measured["targets"]] == re.findall(r"\d+ dB", table[0])
    rows = {
        row.split()[0]: row.split()[1 : 1 + len(measured["targets"])] for row in table[1:] if row
    }
    assert set(rows) == set(measured["curves"])
    for codec, cells in rows.items():
        shown = [None if cell == "-" else float(cell) for cell in cells]
        assert measured["curves"][codec]["at"] == pytest.approx(shown, abs=6e-4), codec


def test_only_reports_are_published(tmp_path):
    (tmp_path / "other.json").write_text('{"places": {}}')
    with pytest.raises(InvalidParameterError):
        published.write(tmp_path / "other.json", tmp_path / "out.json")


def test_published_again_is_the_same(tmp_path):
    means = [{"place": "one", "codec": "klt-dct", "quality": 1.0, "bpppb": 0.12345, "psnr": None}]
    rates = [{"place": "one", "codec": "klt-dct", "psnr": 40.0, "bpppb": 0.5}]
    report = {
        "places": {"one": 2},
        "source": "mine",
        "versions": {},
        "means": means,
        "at_psnr": rates,
    }
    taken = published.published(report)
    assert taken["tiles"] == 2
    assert taken["curves"]["klt-dct"]["points"] == [[1.0, 0.1235, None]]
    assert taken["curves"]["klt-dct"]["at"] == [0.5] + [None] * 7
