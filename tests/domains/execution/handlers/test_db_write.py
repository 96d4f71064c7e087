"""A db node writes, appends to and updates files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.document_parts import PartMissing
from dipeo_server.domains.execution.documents import DocumentError
from dipeo_server.domains.execution.handlers.db import DbError
from dipeo_server.errors import PathDenied
from tests.domains.execution.handlers.visiting import Place


@pytest.fixture
def place(base_dir: Path) -> Place:
    return Place(base_dir, key="Save")


async def test_a_value_is_written_and_a_message_is_the_result(place: Place) -> None:
    output = await place.output("db", {"default": {"a": 1}}, operation="write", file="x/y.json")
    assert place.read("x/y.json") == '{\n  "a": 1\n}\n'
    assert output.value == {"default": "Writed to x/y.json (13 bytes)"}
    assert output.metadata == {"path": "x/y.json", "bytes": 13}


@pytest.mark.parametrize(
    "file, format_, path, text",
    [
        ("a", "json", "a.json", "[\n  1\n]\n"),
        ("a.b/c", "yaml", "a.b/c.yaml", "- 1\n"),
        (".hidden", "text", ".hidden.txt", "[\n  1\n]"),
        ("a.txt", "json", "a.txt", "[\n  1\n]\n"),
        ("a", None, "a", "[\n  1\n]"),
        ("a.yml", None, "a.yml", "- 1\n"),
        (["a.csv"], None, "a.csv", "1\n"),
    ],
)
async def test_the_format_is_named_or_the_suffixs_and_an_extension_is_added(
    place: Place, file: Any, format_: str | None, path: str, text: str
) -> None:
    await place.output("db", {"default": [1]}, operation="write", file=file, format=format_)
    assert place.read(path) == text


@pytest.mark.parametrize(
    "inputs, data, text",
    [
        ({"default": "d", "value": "v", "content": "c", "generated_code": "g"}, None, "g"),
        ({"default": "d", "value": "v", "content": "c"}, None, "c"),
        ({"default": "d", "value": "v"}, None, "v"),
        ({"other": "o", "default": "d"}, None, "d"),
        ({"empty": "", "none": None, "other": "o"}, None, "o"),
        ({"default": {"default": {"default": "deep"}}}, None, "deep"),
        ({"default": ""}, "data", ""),
        ({}, "data", "data"),
        ({"default": False}, "data", "false"),
    ],
)
async def test_what_is_written_is_found_among_the_inputs(
    place: Place, inputs: dict[str, Any], data: Any, text: str
) -> None:
    await place.output("db", inputs, operation="write", file="a.txt", data=data)
    assert place.read("a.txt") == text


@pytest.mark.parametrize("operation", ["write", "append", "update"])
async def test_nothing_to_write_is_an_error(place: Place, operation: str) -> None:
    with pytest.raises(DbError, match=f"nothing to {operation}"):
        await place.output("db", {"a": None}, operation=operation, file="a.json", keys="k")


@pytest.mark.parametrize("file", [["a", "b"], "*.json", ["data/**/x"]])
async def test_one_file_is_written_and_no_pattern(place: Place, file: Any) -> None:
    with pytest.raises(DbError, match="one file"):
        await place.output("db", {"default": 1}, operation="write", file=file)


async def test_nothing_is_written_outside_of_the_base_directory(place: Place) -> None:
    with pytest.raises(PathDenied):
        await place.output(
            "db", {"default": "x", "name": "../x"}, operation="write", file="{name}.txt"
        )


@pytest.mark.parametrize(
    "value, text",
    [
        (
            [{"a": 1, "b": "x, y"}, {"b": None, "c": [1]}],
            'a,b,c\n1,"x, y",\n,,[1]\n',
        ),
        ([[1, "two"], ["three"]], "1,two\nthree\n"),
        (["a", "b"], "a\nb\n"),
        ({"n": 1, "deep": {"a": "b"}}, 'n,deep\n1,"{""a"": ""b""}"\n'),
        ("already,csv\n1,2", "already,csv\n1,2"),
        (5, "5\n"),
        ([], ""),
    ],
)
async def test_csv_takes_maps_lists_and_text(place: Place, value: Any, text: str) -> None:
    await place.output("db", {"default": value}, operation="write", file="t", format="csv")
    assert place.read("t.csv") == text


# --- append


async def append(place: Place, value: Any, file: str, **props: Any) -> str:
    await place.output("db", {"default": value}, operation="append", file=file, **props)
    return place.read(file)


@pytest.mark.parametrize(
    "existing, items",
    [(None, [{"n": 1}]), ("[0]", [0, {"n": 1}]), ('{"a": 0}', [{"a": 0}, {"n": 1}])],
)
async def test_json_becomes_a_list(place: Place, existing: str | None, items: list[Any]) -> None:
    if existing is not None:
        place.write("log.json", existing)
    assert json.loads(await append(place, {"n": 1}, "log.json")) == items


async def test_yaml_becomes_a_list_too(place: Place) -> None:
    await append(place, "first", "log.yaml")
    assert await append(place, {"n": 2}, "log.yaml") == "- first\n- n: 2\n"


async def test_text_grows_by_lines(place: Place) -> None:
    await append(place, "one", "log.txt")
    await append(place, "two\n", "log.txt")
    assert await append(place, 3, "log.txt") == "one\ntwo\n3\n"


async def test_csv_grows_by_rows_in_the_order_of_its_columns(place: Place) -> None:
    assert await append(place, {"a": 1, "b": 2}, "t.csv") == "a,b\n1,2\n"
    assert await append(place, [{"b": 4, "a": 3}, {"a": 5}], "t.csv") == "a,b\n1,2\n3,4\n5,\n"
    assert (await append(place, [[7, 8]], "t.csv")).endswith("5,\n7,8\n")
    with pytest.raises(DocumentError, match=r"t\.csv has no column 'c'"):
        await append(place, {"c": 1}, "t.csv")


async def test_a_csv_file_without_a_last_line_break_is_continued_on_a_new_line(
    place: Place,
) -> None:
    place.write("t.csv", "a,b\n1,2")
    assert await append(place, {"a": 3}, "t.csv") == "a,b\n1,2\n3,\n"
    place.write("t.csv", "a,b\n1,2")
    assert await append(place, "3,4", "t.csv") == "a,b\n1,2\n3,4\n"


async def test_appending_says_so(place: Place) -> None:
    output = await place.output("db", {"default": "x"}, operation="append", file="a.txt")
    assert output.value["default"] == "Appended to a.txt (2 bytes)"


# --- update


async def update(place: Place, value: Any, file: str, keys: Any, **props: Any) -> str:
    inputs = {"default": value}
    await place.output("db", inputs, operation="update", file=file, keys=keys, **props)
    return place.read(file)


@pytest.mark.parametrize(
    "keys, document",
    [
        ("a", {"a": "new", "list": [1, {"b": 2}]}),
        ("deep.er.key", {"a": 1, "list": [1, {"b": 2}], "deep": {"er": {"key": "new"}}}),
        ("list.0", {"a": 1, "list": ["new", {"b": 2}]}),
        ("list.1.b", {"a": 1, "list": [1, {"b": "new"}]}),
    ],
)
async def test_a_value_is_set_at_a_key(place: Place, keys: str, document: Any) -> None:
    place.write("d.json", '{"a": 1, "list": [1, {"b": 2}]}')
    assert json.loads(await update(place, "new", "d.json", keys)) == document


async def test_several_keys_take_their_values_by_name(place: Place) -> None:
    values = {"x.y": 1, "z": 2}
    assert json.loads(await update(place, values, "d.json", "x.y, q.z")) == {
        "x": {"y": 1},
        "q": {"z": 2},
    }
    with pytest.raises(PartMissing, match="'missing'"):
        await update(place, values, "d.json", ["z", "missing"])


async def test_yaml_is_updated_and_other_formats_are_refused(place: Place) -> None:
    assert await update(place, [1], "d.yaml", "a.b") == "a:\n  b:\n  - 1\n"
    assert await update(place, [2], "noext", "a", format=None) == '{\n  "a": [\n    2\n  ]\n}\n'
    with pytest.raises(DbError, match="not csv"):
        await update(place, 1, "d.csv", "a")


async def test_a_value_in_the_way_is_an_error(place: Place) -> None:
    place.write("d.json", '{"a": 1, "list": []}')
    for keys in ("a.b", "list.0", "list.x.y"):
        with pytest.raises(PartMissing, match="cannot be set"):
            await update(place, 2, "d.json", keys)
    assert json.loads(place.read("d.json")) == {"a": 1, "list": []}
