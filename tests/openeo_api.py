"""Checks responses against the openEO API 1.2.0.

`openeo-api-1.2.0.json` is the published openapi.yaml (Apache-2.0) without descriptions, examples and
request bodies.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema

_RENAMED = {"oneOf": "anyOf"}
_SPECIFICATION = Path(__file__).parent / "openeo-api-1.2.0.json"


@cache
def _document():
    return _as_json_schema(json.loads(_SPECIFICATION.read_text(encoding="utf-8")))


def _as_json_schema(value):
    """OpenAPI 3.0's schemas as JSON Schema has them.

    Null is a type there; and of `oneOf`, which openEO uses where one choice includes others, any.
    """
    if isinstance(value, list):
        return [_as_json_schema(member) for member in value]
    if not isinstance(value, dict):
        return value
    changed = {_RENAMED.get(name, name): _as_json_schema(member) for name, member in value.items()}
    if changed.pop("nullable", False) is True:
        return {"anyOf": [changed, {"type": "null"}]}
    return changed


def check(response, path, method="get"):
    """The response of `path` as the specification has it, which says no more than its JSON."""
    document = _document()
    responses = document["paths"][path][method]["responses"]
    status = str(response.status_code)
    described = responses.get(status) or responses[f"{status[0]}XX"]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    content = described.get("content", {}).get("application/json")
    if content is None:
        return
    body = response.json()
    schema = {**content["schema"], "components": document["components"]}
    jsonschema.Draft7Validator(schema).validate(body)
    if response.status_code >= 400:
        assert body["id"]
        assert body["code"]
        assert body["message"]
