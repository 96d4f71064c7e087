"""What is said of a document that was read: everything, once."""

from collections.abc import Mapping

import pytest

from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.judgement import compile_loaded, problems_of
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeSpec
from tests.domains.diagram.conftest import Reader

Specs = Mapping[str, NodeSpec]

TWO_ENTRIES = """
    version: light
    nodes:
    - {label: start, type: start}
    - {label: first, type: db}
    - {label: second, type: db%s}
    - {label: third, type: db}
    connections:
    - {from: start, to: first}
    - {from: start, to: second}
    - {from: first, to: second, label: again}
    - {from: second, to: third}
    - {from: third, to: first, label: again}
"""


def codes(loaded: Loaded, specs: Specs) -> list[str]:
    return [problem.code for problem in problems_of(loaded, specs)]


def test_a_loop_with_two_entries_is_warned_about(read: Reader, specs: Specs) -> None:
    (problem,) = problems_of(read(TWO_ENTRIES % ""), specs)
    assert problem.code == "LOOP_HEADER_CHOSEN"
    assert problem.node == "first"
    assert "first, second" in problem.message


def test_a_header_that_the_author_chose_needs_no_warning(read: Reader, specs: Specs) -> None:
    loaded = read(TWO_ENTRIES % ", loop_header: true")
    assert codes(loaded, specs) == []
    blocks = compile_loaded(loaded, specs).executable.blocks
    assert [block.header for block in blocks] == [None, 2]


def test_two_chosen_headers_of_one_loop_are_none(read: Reader, specs: Specs) -> None:
    text = (TWO_ENTRIES % ", loop_header: true").replace(
        "label: first, type: db", "label: first, type: db, loop_header: true"
    )
    assert codes(read(text), specs) == ["LOOP_HEADER_CHOSEN"]


def test_a_diagram_that_can_run_has_the_warnings_of_reading_and_of_compiling(
    read: Reader, specs: Specs
) -> None:
    text = (TWO_ENTRIES % ", position: here").replace("version: light", "version: readable")
    found = problems_of(read(text), specs)
    assert [problem.code for problem in found] == [
        "FORMAT_VERSION",
        "LOOP_HEADER_CHOSEN",
        "POSITION_IGNORED",
    ]
    assert not any(problem.is_error for problem in found)


def test_faults_of_reading_and_of_the_rules_are_told_together(read: Reader, specs: Specs) -> None:
    text = (TWO_ENTRIES % ", timeout: soon").replace("to: third", "to: thirst")
    loaded = read(text)
    found = problems_of(loaded, specs)
    errors = [problem.code for problem in found if problem.is_error]
    assert errors == ["INVALID_PROPS", "UNKNOWN_NODE"]
    with pytest.raises(DiagramInvalid) as refusal:
        compile_loaded(loaded, specs)
    assert refusal.value.problems == found


def test_what_cannot_be_read_says_why(read: Reader, specs: Specs) -> None:
    assert codes(read("nodes: [unclosed"), specs) == ["YAML_SYNTAX"]
