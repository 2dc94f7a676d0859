"""Every definition has its function and they agree; openEO's rules for definitions hold."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from openeo_nc import errors, processes, resources

DEFINITIONS = sorted(resources.process_definitions().glob("*.json"))
CODES = {
    cls.code
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.OpenEONCError)
}


def definition(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_all_processes_are_there():
    found = {one.process_id for one in processes.implementations()}
    assert found == {path.stem for path in DEFINITIONS}
    assert {
        "compress_cube", "decode_embedding", "encode_embedding",
        "load_collection", "load_stac", "save_result",
    } <= found  # fmt: skip


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda p: p.stem)
def test_definitions_follow_openeo(path):
    spec = definition(path)
    assert spec["id"] == path.stem
    assert re.fullmatch(r"\w+", spec["id"])
    assert spec["summary"]
    assert not spec["summary"].endswith(".")
    assert spec["description"]
    assert spec["returns"]["description"]
    assert spec["returns"]["schema"]
    for parameter in spec["parameters"]:
        assert parameter["description"]
        assert parameter.get("optional", False) or "default" not in parameter
        schemas = parameter["schema"]
        for schema in schemas if isinstance(schemas, list) else [schemas]:
            jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda p: p.stem)
def test_exceptions_are_errors_of_this_package(path):
    exceptions = definition(path)["exceptions"]
    assert exceptions
    for code, exception in exceptions.items():
        assert code in CODES
        assert exception["message"]


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda p: p.stem)
def test_examples_are_valid_arguments(path):
    from openeo_nc.graphs.arguments import check

    spec = definition(path)
    assert spec["examples"]
    for example in spec["examples"]:
        assert list(check(spec, example["arguments"])) == []


SPEC = {
    "id": "resize",
    "parameters": [
        {"name": "data", "schema": {}},
        {"name": "factor", "schema": {}, "optional": True, "default": 2},
        {"name": "options", "schema": {}, "optional": True, "default": {}},
    ],
}


def test_agreement_of_signature_and_definition():
    def resize(data, factor=2, options=None): ...

    processes.check_agreement(SPEC, resize)


def wrong_name(data, scale=2, options=None): ...


def wrong_default(data, factor=3, options=None): ...


def wrong_order(data, options=None, factor=2): ...


def required(data, factor, options=None): ...


def missing(data): ...


@pytest.mark.parametrize("function", [wrong_name, wrong_default, wrong_order, required, missing])
def test_a_mismatch_is_refused(function):
    with pytest.raises(errors.DefinitionMismatchError, match="'resize'"):
        processes.check_agreement(SPEC, function)


def test_a_definition_without_function_is_refused(tmp_path, monkeypatch):
    for path in DEFINITIONS:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "lonely.json").write_text(json.dumps({**SPEC, "id": "lonely"}))
    monkeypatch.setattr(resources, "process_definitions", lambda: tmp_path)
    with pytest.raises(errors.DefinitionMismatchError, match="lonely"):
        processes.implementations.__wrapped__()
