"""Files of results in object storage: sent by the server, or by links of the storage itself."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from object_storage import URL, storage
from starlette.requests import Request

from openeo_nc.cubes.places import place_of
from openeo_nc.errors import RangeInvalidError
from openeo_nc.server.sending import sent

pytest.importorskip("moto.server", reason="moto, a server of S3, is not installed")

DATA = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def place():
    """An object of 1,024 bytes."""
    with storage() as s3, pytest.MonkeyPatch.context() as patched:
        for name, value in s3.environment.items():
            patched.setenv(name, value)
        put = place_of(URL) / "a.tif"
        put.write_bytes(DATA)
        yield put


def asking(method="GET", **headers):
    """A request as Starlette has it."""
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "headers": named})


def test_a_link_of_the_storage_reads_the_object_and_parts_of_it(place):
    answer = sent(asking(), place, timedelta(minutes=10))
    assert answer.status_code == 307
    link = answer.headers["location"]
    signed = parse_qs(urlsplit(link).query)
    assert signed["X-Amz-Expires"] == ["600"]
    assert "X-Amz-Signature" in signed
    assert "secret" not in link
    assert requests.get(link, timeout=60).content == DATA
    part = requests.get(link, headers={"Range": "bytes=8-15"}, timeout=60)
    assert (part.status_code, part.content) == (206, DATA[8:16])


def test_a_link_is_signed_for_the_method_that_was_asked(place):
    links = [
        sent(asking(method), place, timedelta(minutes=10)).headers["location"]
        for method in ("GET", "HEAD")
    ]
    head = requests.head(links[1], timeout=60)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(DATA)))
    assert len({parse_qs(urlsplit(link).query)["X-Amz-Signature"][0] for link in links}) == 2


@pytest.mark.parametrize(
    ("asked", "start", "end"), [("bytes=8-15", 8, 16), ("bytes=-4", 1020, 1024), ("bytes=1000-", 1000, 1024)]
)  # fmt: skip
def test_without_links_the_server_sends_ranges(place, asked, start, end):
    answer = sent(asking(range=asked), place, None)
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert answer.headers["content-length"] == str(end - start)


def test_a_range_beyond_the_end(place):
    with pytest.raises(RangeInvalidError, match="1024 bytes"):
        sent(asking(range="bytes=2000-"), place, None)
