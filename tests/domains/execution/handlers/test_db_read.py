"""A db node reads files, parses them where it is told to, and picks parts of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.execution.document_parts import PartMissing
from dipeo_server.domains.execution.documents import DocumentError
from dipeo_server.domains.execution.handlers.db import DbError, DbProps
from dipeo_server.errors import FileMissing, NodeError, OutputTooLarge, PathDenied
from tests.domains.execution.handlers.visiting import Place, after_crash

CSV = "name,age\nAnn,3\nBob\n"


@pytest.fixture
def place(base_dir: Path) -> Place:
    place = Place(base_dir, key="Load", variables={"day": "monday", "parts": ["x", "y"], "n": 1})
    place.write("data/a.json", '{"user": {"name": "Ann", "tags": ["x", "y"]}, "n": 1}')
    place.write("data/b.yaml", "day: 2025-01-11\nlist: [1, 2]\n")
    place.write("data/c.csv", CSV)
    place.write("data/deep/er/d.json", "[1]")
    place.write("data/monday_y.txt", "one\ntwo\nthree\nfour\n")
    return place


@pytest.mark.parametrize(
    "file, format_, content",
    [
        ("data/c.csv", None, CSV),
        ("data/a.json", None, '{"user": {"name": "Ann", "tags": ["x", "y"]}, "n": 1}'),
        ("data/a.json", "json", {"user": {"name": "Ann", "tags": ["x", "y"]}, "n": 1}),
        ("data/b.yaml", "yaml", {"day": "2025-01-11", "list": [1, 2]}),
        ("data/c.csv", "csv", [{"name": "Ann", "age": "3"}, {"name": "Bob", "age": None}]),
        ("data/c.csv", "text", CSV),
        ("data/c.csv", "xml", CSV),
        ("data/deep/er/d.json", "", "[1]"),
    ],
)
async def test_a_file_is_text_unless_a_format_is_named(
    place: Place, file: str, format_: str | None, content: Any
) -> None:
    output = await place.output("db", operation="read", file=file, format=format_)
    assert output.value == {"default": content}
    assert output.metadata == {"path": file}


async def test_the_older_name_of_file_and_no_operation(place: Place) -> None:
    assert await place.value("db", sub_type="file", source_details="data/c.csv") == CSV


async def test_paths_are_templates(place: Place) -> None:
    inputs = {"default": {"where": "data"}}
    text = await place.value("db", inputs, file="{default.where}/{day}_{parts[n]}.txt")
    assert text.startswith("one")


async def test_a_missing_file_is_an_error(place: Place) -> None:
    with pytest.raises(FileMissing, match=r"data/A\.json"):
        await place.value("db", file="data/A.json")
    with pytest.raises(FileMissing, match="nobody"):
        await place.value("db", file="{nobody}.txt")
    assert await place.observed("db", file=["{nobody}.txt", "b"]) == [
        "TEMPLATE_KEY_MISSING",
        "FILE_NOT_FOUND",
        "FILE_NOT_FOUND",
    ]


async def test_nothing_outside_of_the_base_directory_is_read(place: Place) -> None:
    with pytest.raises(PathDenied):
        await place.value("db", {"default": "/etc/hostname"}, file="{default}")


async def test_several_files_are_a_map_with_null_for_a_missing_one(place: Place) -> None:
    output = await place.output("db", file=["data/deep/er/d.json", "gone.json"], format="json")
    assert output.value == {"default": {"data/deep/er/d.json": [1], "gone.json": None}}
    assert output.metadata == {"paths": ["data/deep/er/d.json", "gone.json"]}


async def test_many_files_together_are_bounded(place: Place) -> None:
    for number in range(5):
        place.write(f"big/{number}.txt", "x" * (7 * 1024 * 1024))
    with pytest.raises(OutputTooLarge, match="5 files together"):
        await place.value("db", file="big/*")


async def test_a_list_of_one_file_is_that_file(place: Place) -> None:
    assert await place.value("db", file=["data/c.csv"]) == CSV


@pytest.mark.parametrize(
    "file, found",
    [
        ("data/*.json", ["data/a.json"]),
        ("data/**/*.json", ["data/a.json", "data/deep/er/d.json"]),
        ("data/?.json", ["data/a.json"]),
        (["data/[ab].*", "data/**/a.json"], ["data/a.json", "data/b.yaml"]),
        (["data/a.json", "data/deep/*/*"], ["data/a.json", "data/deep/er/d.json"]),
        ("none/*", []),
    ],
)
async def test_patterns_are_expanded_and_always_give_a_map(
    place: Place, file: Any, found: list[str]
) -> None:
    assert list(await place.value("db", file=file)) == found


async def test_a_pattern_without_a_match_is_observed(place: Place) -> None:
    assert await place.observed("db", file="none/*") == ["FILE_NOT_FOUND"]


async def test_a_file_with_brackets_in_its_name_is_itself(place: Place) -> None:
    place.write("a[1].txt", "bracketed")
    assert await place.value("db", file="a[1].txt") == "bracketed"


@pytest.mark.parametrize(
    "keys, value",
    [
        ("user.name", "Ann"),
        ("user.tags.1", "y"),
        ("user.tags.-2", "x"),
        (["n"], 1),
        ("n, user.name", {"n": 1, "user.name": "Ann"}),
        (["n", "user"], {"n": 1, "user": {"name": "Ann", "tags": ["x", "y"]}}),
    ],
)
async def test_keys_pick_values(place: Place, keys: Any, value: Any) -> None:
    assert await place.value("db", file="data/a.json", keys=keys) == value


async def test_keys_go_by_the_suffix_or_by_the_format(place: Place) -> None:
    place.write("settings", "a: {b: 1}")
    assert await place.value("db", file="data/b.yaml", keys="list.0") == 1
    assert await place.value("db", file="settings", format="yaml", keys="a.b") == 1
    with pytest.raises(DocumentError, match=r"settings is not JSON: line 1"):
        await place.value("db", file="settings", keys="a.b")


async def test_a_key_that_is_not_there_is_an_error(place: Place) -> None:
    with pytest.raises(PartMissing) as failure:
        await place.value("db", file="data/a.json", keys="user.nam")
    assert failure.value.code == "KEY_NOT_FOUND"
    assert failure.value.hint == "Did you mean 'name'?"


@pytest.mark.parametrize(
    "lines, text",
    [
        ("2:3", "two\nthree"),
        (2, "two"),
        ("1,3:", "one\nthree\nfour"),
        (["4", ":2", 1], "one\ntwo\nfour"),
        ("3:900", "three\nfour"),
        ("9", ""),
    ],
)
async def test_lines_are_counted_from_one(place: Place, lines: Any, text: str) -> None:
    assert await place.value("db", file="data/monday_y.txt", lines=lines) == text


async def test_serialize_json_gives_text(place: Place) -> None:
    props = {"file": "data/deep/er/d.json", "format": "json", "serialize_json": True}
    assert await place.value("db", **props) == "[1]"
    assert await place.value("db", **{**props, "keys": "0"}) == 1


async def test_what_cannot_be_parsed_says_where(place: Place) -> None:
    with pytest.raises(DocumentError) as failure:
        await place.value("db", file="data/c.csv", format="json")
    assert failure.value.code == "DOCUMENT_INVALID"
    assert failure.value.message.startswith("data/c.csv is not JSON: line 1, column 1:")


async def test_a_fixed_prompt_is_a_template(place: Place) -> None:
    props = {"sub_type": "fixed_prompt", "operation": "prompt"}
    assert await place.value("db", query="It is {{day}}.", **props) == "It is monday."
    assert await place.value("db", prompt="Hello", sub_type="fixed_prompt") == "Hello"


async def test_neither_file_nor_prompt_is_an_error(place: Place) -> None:
    for operation in ("prompt", "read"):
        with pytest.raises(DbError, match="query"):
            await place.value("db", operation=operation)


async def test_other_sub_types_are_refused(place: Place) -> None:
    with pytest.raises(NodeError, match="sub_type api_tool is not available"):
        await place.value("db", sub_type="api_tool", file="x")


@pytest.mark.parametrize(
    "props, reason",
    [
        ({"operation": "write"}, "operation write needs `file`"),
        ({"operation": "update", "file": "a.json"}, "operation update needs `keys`"),
        ({"operation": "write", "file": "a", "lines": 1}, "read only"),
        ({"file": "a", "lines": "1:2", "keys": "a"}, "not with `keys`"),
        ({"file": "a", "lines": "2:1"}, "no range of lines"),
        ({"file": "a", "format": "docx"}, "format"),
        ({"operation": "delete", "file": "a"}, "operation"),
    ],
)
def test_what_does_not_fit_together_is_refused(props: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DbProps.model_validate(props)


def test_formats_have_other_names() -> None:
    names = {"TXT": "text", "yml": "yaml", "markdown": "text", "JSON": "json"}
    for written, known in names.items():
        assert DbProps.model_validate({"format": written}).format == known


def test_only_appending_asks_after_a_crash() -> None:
    policies = {
        operation: after_crash("db", operation=operation, file="a", keys="a")
        for operation in ("read", "write", "update", "append", "prompt")
    }
    assert {operation for operation, policy in policies.items() if policy == "ask"} == {"append"}
    assert policies["read"] == "rerun"


async def test_files_of_children_are_named_by_their_item(place: Place) -> None:
    """A batch item's variables are beside the node's own input, which keeps its name."""
    item = replace(place, variables={"index": 1, "_batch_index": 1, "_batch_total": 2})
    inputs = {"default": {"batch_index": 1, "section_id": "menu"}}
    output = await item.output(
        "db",
        inputs,
        operation="write",
        format="json",
        file="out/section_{default.batch_index}_{default.section_id}.json",
    )
    assert output.metadata["path"] == "out/section_1_menu.json"
