"""Finding items in static catalogues, item collections, APIs' pages and on the web."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import threading

import numpy as np
import pytest
import stac_scenes as scenes
from silent_host import silent

from openeo_nc.cubes import addresses, catalogue, stac
from openeo_nc.cubes.query import Query
from openeo_nc.errors import (
    CollectionNotFoundError,
    InvalidParameterError,
    NoDataAvailableError,
)


def tiny(item_id, when, left=scenes.LEFT):
    """An item that only metadata are read of."""
    return scenes.item(item_id, when, {"B04": scenes.asset("./b04.tif", 10, left=left)})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A catalogue in a catalogue: collections of two places and years."""
    folder = tmp_path_factory.mktemp("root")
    scenes.write_collection(
        folder / "west",
        [tiny("w1", "2020-01-01T10:00:00Z"), tiny("w2", "2020-02-01T10:00:00Z")],
        "west",
    )
    scenes.write_collection(
        folder / "deep" / "east", [tiny("e1", "2021-01-01T10:00:00Z", 700_000)], "east"
    )
    for path, children in (
        (folder / "deep", ["east/collection.json"]),
        (folder, ["west/collection.json", "deep/catalog.json"]),
    ):
        links = [{"rel": "child", "href": f"./{child}"} for child in children]
        links.append({"rel": "root", "href": "./catalog.json"})
        document = {"type": "Catalog", "stac_version": "1.1.0", "id": path.name, "links": links}
        (path / "catalog.json").write_text(json.dumps(document))
    return folder


def ids(url, *query):
    return [item["id"] for item in catalogue.find_items(str(url), Query.of(*query))]


@contextlib.contextmanager
def web(folder, answers=None):
    """Loopback URL that serves a folder, and `answers` (path to JSON) before it."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if (answer := (answers or {}).get(self.path)) is None:
                super().do_GET()
                return
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_items_of_nested_catalogues_are_found_in_order(root):
    assert ids(root) == ids(root / "catalog.json") == ["w1", "w2", "e1"]
    assert ids(f"file://{root}/west/collection.json") == ["w1", "w2"]
    assert ids(root / "west/items/w2.json") == ["w2"]


def test_collections_off_the_extents_are_not_walked(root, monkeypatch):
    read = []
    real = catalogue.read_json
    monkeypatch.setattr(
        catalogue, "read_json", lambda href, by=None: read.append(href) or real(href, by)
    )
    assert ids(root, None, ["2021-01-01", None]) == ["e1"]
    assert not [href for href in read if "/items/w" in href]
    read.clear()
    box = {"west": 699_000, "south": 4_999_000, "east": 701_000, "north": 5_001_000, "crs": 32631}
    assert ids(root, box) == ["e1"]
    assert not [href for href in read if "/items/w" in href]


def test_hrefs_are_absolute(root):
    item = catalogue.find_items(str(root / "west"), Query())[0]
    assert item["assets"]["B04"]["href"] == str(root / "west/items/b04.tif")


def test_pages_of_an_api_without_search_are_followed(root):
    pages = {
        "/collections/c": {
            "type": "Collection", "id": "c", "extent": {},
            "links": [{"rel": "items", "href": "/collections/c/items"}],
        },
        "/collections/c/items": {
            "type": "FeatureCollection", "features": [tiny("one", "2022-01-02T00:00:00Z")],
            "links": [{"rel": "next", "href": "/collections/c/items?page=2"}],
        },
        "/collections/c/items?page=2": {
            "type": "FeatureCollection", "features": [tiny("two", "2022-01-01T00:00:00Z")], "links": [],
        },
    }  # fmt: skip
    with web(root, pages) as url:
        assert ids(f"{url}/collections/c") == ["two", "one"]
        assert ids(f"{url}/collections/c/items") == ["two", "one"]


def test_a_static_catalogue_on_the_web_is_loaded_with_its_pixels(tmp_path):
    item = scenes.granule(tmp_path, "remote", "2022-06-01T10:00:00Z")
    path = item["assets"]["B04"]["href"]
    for key, asset in item["assets"].items():
        asset["href"] = f"../remote/{key}.tif"
    scenes.write_collection(tmp_path, [item])
    with web(tmp_path) as url:
        remote = stac.load(f"{url}/collection.json", bands=["B04"])
        values = remote.values
    item["assets"]["B04"]["href"] = path
    np.testing.assert_array_equal(
        values,
        stac.load(scenes.write_items(str(tmp_path / "i.json"), [item]), bands=["B04"]).values,
    )


def test_what_cannot_be_read_is_a_typed_error(root, tmp_path):
    with pytest.raises(InvalidParameterError, match="cannot be read as STAC"):
        ids(tmp_path / "nothing.json")
    with pytest.raises(InvalidParameterError, match="cannot be read as STAC"):
        ids("http://127.0.0.1:9/collection.json")
    with web(root) as url, pytest.raises(InvalidParameterError, match="404"):
        ids(f"{url}/nothing.json")
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(InvalidParameterError, match="no JSON object"):
        ids(tmp_path / "other.json")
    (tmp_path / "other.json").write_text('{"type": "FeatureSet"}')
    with pytest.raises(InvalidParameterError, match="not a STAC"):
        ids(tmp_path / "other.json")
    with pytest.raises(NoDataAvailableError):
        ids(root, None, ["2030-01-01", None])


def test_too_many_items_are_refused(root, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_ITEMS", 2)
    with pytest.raises(InvalidParameterError, match="More than 2 items"):
        ids(root)


def test_collections_are_found_by_id(root):
    assert catalogue.find_collection("east", [str(root)]).endswith("deep/east/collection.json")
    assert catalogue.find_collection("west", [str(root / "deep"), str(root / "west")]).endswith(
        "west/collection.json"
    )
    with pytest.raises(CollectionNotFoundError, match=r"'north'\. Known are: west, east"):
        catalogue.find_collection("north", [str(root)])


def test_pages_without_an_end_are_refused(root):
    pages = {
        "/items": {
            "type": "FeatureCollection", "features": [],
            "links": [{"rel": "next", "href": "/items?page=2"}],
        },
        "/items?page=2": {
            "type": "FeatureCollection", "features": [],
            "links": [{"rel": "next", "href": "/items"}],
        },
        "/api": {"type": "Catalog", "id": "api", "links": [{"rel": "data", "href": "/collections"}]},
        "/collections": {
            "collections": [], "links": [{"rel": "next", "href": "/collections"}],
        },
    }  # fmt: skip
    with web(root, pages) as url:
        with pytest.raises(InvalidParameterError, match="have no end"):
            ids(f"{url}/items")
        with pytest.raises(InvalidParameterError, match="have no end"):
            catalogue.find_collection("c", [f"{url}/api"])


def test_a_catalogue_among_its_own_children_is_listed_once(tmp_path):
    links = [{"rel": "child", "href": "./catalog.json"}]
    document = {"type": "Catalog", "stac_version": "1.1.0", "id": "ring", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(document))
    with pytest.raises(CollectionNotFoundError):
        catalogue.find_collection("east", [str(tmp_path)])


def test_a_search_in_a_silent_api_ends(root, monkeypatch):
    monkeypatch.setattr(addresses, "TIMEOUT", 0.3)
    landing = {
        "type": "Catalog", "stac_version": "1.1.0", "id": "api", "description": "api",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search"],
    }  # fmt: skip
    with silent() as (host, port):
        landing["links"] = [
            {"rel": "search", "href": f"http://{host}:{port}/search", "method": "POST",
             "type": "application/geo+json"},
        ]  # fmt: skip
        with web(root, {"/api": landing}) as url, pytest.raises(
            InvalidParameterError, match=r"The search in .* failed"
        ):  # fmt: skip
            ids(f"{url}/api")
