"""The schemas of STAC Items and Zarr attributes, with what they refer to at hand; a fixture."""

from __future__ import annotations

import json
from pathlib import Path

import pystac
import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

STAC = Path(pystac.__file__).parent / "validation" / "jsonschemas"
STAC_1_0 = "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/item.json"
ITEM_SPEC = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/"
STAC_1_1 = f"{ITEM_SPEC}item.json"
TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "float16", "float32", "float64"]  # fmt: skip


@pytest.fixture(scope="module")
def schemas(shared):
    """What the schemas refer to: pystac's copies of STAC, and stand-ins for two extensions."""
    documents = {path.name: json.loads(path.read_text()) for path in STAC.rglob("*.json")}
    item = documents["item.json"]
    # pystac has STAC 1.1 only; 1.0 differs in the version and in bands, which are not required
    old = json.loads(
        json.dumps(item)
        .replace('"1.1.0"', '"1.0.0"')
        .replace('"common.json"', f'"{ITEM_SPEC}common.json"')
        .replace('"bands.json"', f'"{ITEM_SPEC}bands.json"')
    )
    expression = {"fields": {"properties": {"processing:expression": {"type": "object"}}}}
    stand_ins = {
        STAC_1_0: {**old, "$id": STAC_1_0},
        STAC_1_0.replace("item", "collection"): {},
        "https://stac-extensions.github.io/processing/v1.1.0/schema.json": {
            "definitions": expression
        },
        "https://stac-extensions.github.io/processing/v1.2.0/schema.json": {
            "definitions": expression
        },
        "https://stac-extensions.github.io/raster/v1.1.0/schema.json": {
            "definitions": {"bands": {"items": {"properties": {"data_type": {"enum": TYPES}}}}}
        },
        "https://stac-extensions.github.io/classification/v1.1.0/schema.json": {
            "definitions": {"fields": {"properties": {"classification:classes": {}}}}
        },
    }
    named = {ITEM_SPEC + name: document for name, document in documents.items()}
    by_id = {document["$id"]: document for document in documents.values()}
    resources = by_id | named | stand_ins  # the $id of pystac's common.json is misspelt
    found = Registry().with_resources(
        [
            (
                uri,
                Resource.from_contents({"$schema": "http://json-schema.org/draft-07/schema#", **d}),
            )
            for uri, d in resources.items()
        ]
    )
    folder = shared / "schemas"
    if not folder.is_dir():
        pytest.skip(f"no schemas: {folder} is not there")

    def validator(name):
        schema = (
            {"$ref": name} if name.startswith("https:") else json.loads((folder / name).read_text())
        )
        return Draft7Validator(schema, registry=found)

    return validator
