"""A validator passes on what fits its schema, and says what does not."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.documents import DocumentError
from dipeo_server.domains.execution.handlers.json_schema_validator import (
    JsonSchemaValidatorProps,
    SchemaInvalid,
    SchemaMismatch,
)
from dipeo_server.errors import FileMissing
from tests.domains.execution.handlers.visiting import Place, after_crash

TYPE = "json_schema_validator"
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Check")


@pytest.mark.parametrize(
    "inputs, value",
    [
        ({"default": {"name": "Ann"}}, {"name": "Ann"}),
        ({"anything": {"name": "Ann"}}, {"name": "Ann"}),
        ({"default": ' {"name": "Ann"}'}, {"name": "Ann"}),
        ({"name": "Ann", "age": 3}, {"name": "Ann", "age": 3}),
    ],
)
async def test_what_fits_passes_and_json_text_is_parsed(
    place: Place, inputs: dict[str, Any], value: Any
) -> None:
    output = await place.output(TYPE, inputs, json_schema=PERSON)
    assert (output.value, output.metadata) == ({"default": value}, {})


async def test_text_that_is_no_map_or_list_stays_text(place: Place) -> None:
    for text in ("5", "{half", "true"):
        assert await place.value(TYPE, {"default": text}, schema={"type": "string"}) == text


async def test_what_does_not_fit_fails_with_path_and_message(place: Place) -> None:
    with pytest.raises(SchemaMismatch) as failure:
        await place.value(TYPE, {"default": {"name": "Ann", "age": -1}}, json_schema=PERSON)
    assert failure.value.code == "SCHEMA_MISMATCH"
    assert failure.value.message == "age: -1 is less than the minimum of 0"
    with pytest.raises(SchemaMismatch, match=r"^root: 'name' is a required property$"):
        await place.value(TYPE, {"default": {}}, json_schema=PERSON)


@pytest.mark.parametrize("name", ["strict", "strict_mode"])
async def test_strict_mode_tells_everything(place: Place, name: str) -> None:
    wrong = {"default": {"age": "x"}}
    with pytest.raises(SchemaMismatch) as failure:
        await place.value(TYPE, wrong, json_schema=PERSON, **{name: True})
    assert failure.value.message == (
        "root: 'name' is a required property; age: 'x' is not of type 'integer'"
    )


async def test_the_list_of_mistakes_is_bounded(place: Place) -> None:
    schema = {"items": {"type": "string"}}
    with pytest.raises(SchemaMismatch) as failure:
        await place.value(TYPE, {"default": list(range(1_000))}, schema=schema, strict=True)
    assert failure.value.message.count("; ") == 49
    with pytest.raises(SchemaMismatch) as failure:
        await place.value(TYPE, {"default": ["x" * 10_000]}, schema={"maxItems": 0})
    assert len(failure.value.message) < 400


CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "open": {"type": "object", "additionalProperties": True},
        "list": {"type": "array", "items": {"properties": {"a": {}}}},
        "pair": {"prefixItems": [{"type": "object"}]},
        "either": {"anyOf": [{"type": "object", "properties": {"b": {}}}, {"type": "null"}]},
    },
}


@pytest.mark.parametrize(
    "value, place_of_extra",
    [
        ({"more": 1}, "root"),
        ({"list": [{"a": 1}, {"a": 1, "more": 1}]}, "list.1"),
        ({"pair": [{"more": 1}]}, "pair.0"),
        ({"either": {"more": 1}}, "either"),
        ({"open": {"more": 1}}, None),
    ],
)
async def test_extra_properties_can_be_errors_at_every_level(
    place: Place, value: Any, place_of_extra: str | None
) -> None:
    assert await place.value(TYPE, {"default": value}, json_schema=CLOSED) == value
    props = {"json_schema": CLOSED, "error_on_extra": True}
    if place_of_extra is None:
        assert await place.value(TYPE, {"default": value}, **props) == value
        return
    with pytest.raises(SchemaMismatch, match=f"^{place_of_extra}: "):
        await place.value(TYPE, {"default": value}, **props)


async def test_a_schema_that_allows_everything_stays_open(place: Place) -> None:
    props = {"json_schema": {"properties": {"a": True}}, "error_on_extra": True}
    assert await place.value(TYPE, {"default": {"a": {"b": 1}}}, **props) == {"a": {"b": 1}}


async def test_items_may_be_a_list_of_schemas_in_older_drafts(place: Place) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "items": [{"type": "object", "properties": {}}],
    }
    with pytest.raises(SchemaMismatch, match=r"^0: "):
        await place.value(TYPE, {"default": [{"x": 1}]}, schema=schema, error_on_extra=True)


async def test_schema_and_value_may_lie_in_files(place: Place) -> None:
    place.write("person.json", json.dumps(PERSON))
    place.write("ann.yaml", "name: Ann\n")
    place.write("broken.txt", "{")
    props = {"schema_path": "{kind}.json", "data_path": "ann.yaml"}
    output = await place.output(TYPE, {"kind": "person"}, **props)
    assert output.value == {"default": {"name": "Ann"}}
    assert output.metadata == props
    with pytest.raises(FileMissing):
        await place.value(TYPE, schema_path="gone.json", data_path="ann.yaml")
    with pytest.raises(DocumentError, match=r"broken\.txt is not JSON"):
        await place.value(TYPE, schema=PERSON, data_path="broken.txt")


async def test_without_anything_to_validate_it_fails(place: Place) -> None:
    with pytest.raises(SchemaMismatch, match="no input"):
        await place.value(TYPE, json_schema=True)
    with pytest.raises(SchemaMismatch, match="False schema"):
        await place.value(TYPE, {"default": 1}, json_schema=False)


@pytest.mark.parametrize(
    "schema, reason",
    [
        ({"type": "strnig"}, "invalid at type"),
        ({"properties": {"a": {"minimum": "x"}}}, r"invalid at properties\.a\.minimum"),
        ({"$ref": "#/nowhere"}, "cannot be applied"),
        ({"$ref": "#"}, "cannot be applied: RecursionError"),
    ],
)
async def test_a_schema_that_is_none_is_an_error_of_its_own(
    place: Place, schema: Any, reason: str
) -> None:
    with pytest.raises(SchemaInvalid, match=reason) as failure:
        await place.value(TYPE, {"default": {"a": 1}}, json_schema=schema)
    assert failure.value.code == "SCHEMA_INVALID"


@pytest.mark.parametrize("document", ["[1]", "5", "null", '"text"'])
async def test_a_schema_from_a_file_must_be_a_map_or_a_boolean(place: Place, document: str) -> None:
    place.write("schema.json", document)
    with pytest.raises(SchemaInvalid, match="the schema is"):
        await place.value(TYPE, {"default": 1}, schema_path="schema.json")


async def test_a_reference_to_elsewhere_is_not_fetched(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(SchemaInvalid, match="Unresolvable"):
            await place.value(TYPE, {"default": 1}, json_schema={"$ref": url})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_schema_is_needed() -> None:
    with pytest.raises(ValidationError, match="json_schema or schema_path"):
        JsonSchemaValidatorProps()


def test_it_may_run_again_after_a_crash() -> None:
    assert after_crash(TYPE, schema=True) == "rerun"
