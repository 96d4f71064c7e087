"""Light documents as a whole: top-level fields, persons, and the corpus of real diagrams."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dipeo_server.domains.diagram.formats.json_values import DOCUMENT_BYTES_MAX
from dipeo_server.domains.diagram.formats.light import read_light
from dipeo_server.domains.diagram.formats.light_writer import write_light
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainDiagram, Location
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import report


def without_places(diagram: DomainDiagram) -> DomainDiagram:
    return replace(
        diagram,
        nodes=tuple(replace(node, location=None) for node in diagram.nodes),
        edges=tuple(replace(edge, location=None) for edge in diagram.edges),
        persons=tuple(replace(person, location=None) for person in diagram.persons),
    )


def light_files(corpus: Path) -> list[Path]:
    return [*corpus.rglob("*.light.yaml"), *corpus.rglob("mcp-diagrams/*.yaml")]


def test_every_light_file_of_the_corpus_loads(corpus: Path, specs: Mapping[str, NodeSpec]) -> None:
    files = light_files(corpus)
    assert len(files) >= 10
    for file in files:
        loaded = read_light(file.read_text(), specs=specs, path=file.name)
        assert loaded.problems == (), file
        errors = [problem for problem in report(loaded, specs) if problem.is_error]
        assert errors == [], file


def test_every_light_file_of_the_corpus_loads_without_any_handler(corpus: Path) -> None:
    for file in light_files(corpus):
        errors = [p for p in report(read_light(file.read_text(), specs={}), {}) if p.is_error]
        assert errors == [], file


def test_every_light_file_of_the_corpus_survives_writing(
    corpus: Path, specs: Mapping[str, NodeSpec]
) -> None:
    for file in light_files(corpus):
        first = read_light(file.read_text(), specs=specs).diagram
        assert first is not None
        again = read_light(write_light(first), specs=specs)
        assert again.problems == ()
        assert again.diagram is not None
        assert without_places(again.diagram) == without_places(first), file


def test_top_level_fields_are_kept(specs: Mapping[str, NodeSpec]) -> None:
    text = """
$schema: ./light.json
version: light
name: 2024
description: Says hello
nodes: []
connections: null
metadata: {author: me}
api_keys: {APIKEY_1: {service: openai}}
handles: []
"""
    diagram = read_light(text, specs=specs, path="a/b.light.yaml").diagram
    assert diagram == DomainDiagram(
        nodes=(),
        edges=(),
        name="2024",
        description="Says hello",
        path="a/b.light.yaml",
        metadata={"author": "me"},
        extra={"api_keys": {"APIKEY_1": {"service": "openai"}}, "handles": []},
    )


@pytest.mark.parametrize(
    "text, code",
    [
        ("", "DOCUMENT_EMPTY"),
        ("# nothing", "DOCUMENT_EMPTY"),
        ("- a", "DOCUMENT_NOT_A_MAP"),
        ("just text", "DOCUMENT_NOT_A_MAP"),
        ("a: *b", "YAML_ALIAS"),
        ("x" * (DOCUMENT_BYTES_MAX + 1), "DOCUMENT_TOO_LARGE"),
    ],
)
def test_what_is_no_document_gives_one_error_and_no_diagram(
    text: str, code: str, specs: Mapping[str, NodeSpec]
) -> None:
    loaded = read_light(text, specs=specs)
    assert loaded.diagram is None
    assert [problem.code for problem in loaded.problems] == [code]
    assert loaded.has_errors


@pytest.mark.parametrize(
    "text, line",
    [
        ("nodes: {}", 1),
        ("nodes:\n  - A", 2),
        ("nodes:\n  - label: A\n    props: [1]", 3),
        ("nodes:\n  - label: [A]", 2),
        ("connections: A", 1),
        ("persons: [a]", 1),
        ("persons:\n  p:\n    model: [x]", 3),
        ("metadata: 1", 1),
        ("name: []", 1),
    ],
)
def test_a_field_of_the_wrong_shape_is_reported_where_it_is(
    text: str, line: int, specs: Mapping[str, NodeSpec]
) -> None:
    problems = read_light(f"version: light\n{text}", specs=specs).problems
    assert [problem.code for problem in problems] == ["INVALID_FIELD"]
    assert problems[0].location is not None
    assert problems[0].location.line == line + 1


def test_another_version_is_read_as_light_with_a_warning(specs: Mapping[str, NodeSpec]) -> None:
    loaded = read_light("version: 1.0\nnodes: []", specs=specs)
    assert [problem.code for problem in loaded.problems] == ["FORMAT_VERSION"]
    assert not loaded.has_errors


def persons(text: str) -> Loaded:
    return read_light(f"version: light\npersons:\n{text}", specs={})


def test_a_person_has_defaults() -> None:
    [person] = persons("  Ann: {}").diagram.persons  # type: ignore[union-attr]  # it loads
    assert (person.key, person.label) == ("Ann", "Ann")
    assert (person.service, person.model) == ("openai", "gpt-4-mini")


def test_a_person_keeps_everything_that_is_written() -> None:
    loaded = persons(
        "  Ann:\n"
        "    label: Anna\n"
        "    service: OPENAI\n"
        "    llm_config: {model: big, service: none, temperature: 0.1}\n"
        "    prompt_file: a.txt\n"
        "    system_prompt: Hi\n"
        "    api_key_id: KEY\n"
    )
    assert loaded.diagram is not None
    [person] = loaded.diagram.persons
    assert (person.key, person.label, person.service, person.model) == (
        "Ann",
        "Anna",
        "openai",
        "big",
    )
    assert (person.prompt_file, person.system_prompt, person.api_key_id) == ("a.txt", "Hi", "KEY")
    assert person.extra == {"temperature": 0.1}
    assert person.location == Location(3, 3)


def test_a_stray_value_among_the_persons_is_ignored_with_a_warning() -> None:
    loaded = persons("  Ann: {}\n  model: gpt\n")
    assert [(p.code, p.is_error) for p in loaded.problems] == [("PERSON_IGNORED", False)]
    assert loaded.diagram is not None
    assert [person.key for person in loaded.diagram.persons] == ["Ann"]


def test_ten_thousand_wrong_connections_are_counted_not_listed() -> None:
    nodes = "".join(f"  - label: node {n}\n" for n in range(1_000))
    edges = "".join(f"  - {{from: nod {n}, to: node {n % 1_000}}}\n" for n in range(10_000))
    loaded = read_light(f"nodes:\n{nodes}connections:\n{edges}", specs={})
    assert len(loaded.problems) == 201
    assert loaded.problems[-1].code == "TOO_MANY_PROBLEMS"
    assert "9800 further" in loaded.problems[-1].message
