"""Pytest plugin: what openeo-test-suite needs for its tests over HTTP here.

Three repairs, none of which changes what a test expects: the suite's HTTP runner sends null in place
of callbacks, and calls values that JSON has not a failure where it skips cubes; the release of
openapi-core that it pins does not go with this package's pins, and a later one has other names; and
its check of STAC documents fetches schemas from the web, of which there are copies.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import openapi_core
from jsonschema_path import SchemaPath
from stac_validator import utilities

DATACUBE = Path(__file__).parent / "datacube-2.2.0.json"
"""Schema of https://github.com/stac-extensions/datacube, Apache-2.0."""


class Spec(SchemaPath):
    """As openapi-core 0.18 names it."""

    @classmethod
    def from_dict(cls, data, validator=None):
        return SchemaPath.from_dict(data)


def _schema(place, headers=None):
    """A schema by its address: of STAC from pystac, of the extension from here."""
    url = urlsplit(place)
    if url.netloc == "schemas.stacspec.org":
        version, name = url.path.split("/")[1], url.path.rsplit("/", 1)[1]
        folder = files("pystac.validation.jsonschemas") / "stac-spec" / version
        return json.loads((folder / name).read_text(encoding="utf-8"))
    if url.netloc == "geojson.org":
        folder = files("pystac.validation.jsonschemas") / "geojson"
        return json.loads((folder / url.path.rsplit("/", 1)[1]).read_text(encoding="utf-8"))
    if place == "https://stac-extensions.github.io/datacube/v2.2.0/schema.json":
        return json.loads(DATACUBE.read_text(encoding="utf-8"))
    raise ValueError(f"there is no copy of {place}")


def _encode_data(self, data):
    if isinstance(data, float) and not math.isfinite(data):
        raise NotImplementedError("NaN and infinity are not JSON")
    return data


def _encode_process_graph(self, process, parent_process_id=None, parent_parameter=None):
    return process


openapi_core.Spec = Spec  # before the suite imports it
utilities.fetch_and_parse_file = _schema

from openeo_test_suite.lib import compliance_util
from openeo_test_suite.lib.process_runner.http import Http

# absolute, or names of files below it come twice
compliance_util._guess_root = lambda: Path("assets/openeo-api").absolute()
Http.encode_data = _encode_data
Http.encode_process_graph = _encode_process_graph
