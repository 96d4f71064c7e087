"""Handles of node types, with and without a handler."""

from collections.abc import Mapping

from dipeo_server.domains.diagram.formats.handles import (
    DIPEO_TYPES,
    inputs_of,
    known_type,
    outputs_of,
    ports_of,
)
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports


def test_dipeo_has_sixteen_types() -> None:
    assert len(DIPEO_TYPES) == 16


def test_a_registered_type_says_its_own_handles() -> None:
    specs = {"db": NodeSpec("db", NodeProps, Ports(("a",), ("b", "error")))}
    assert inputs_of("db", specs) == ("a",)
    assert outputs_of("db", specs) == ("b", "error")


def test_dipeos_table_serves_where_there_is_no_handler() -> None:
    assert inputs_of("person_job", {}) == ("default", "first")
    assert outputs_of("condition", {}) == ("condtrue", "condfalse", "error")
    assert inputs_of("start", {}) == ()
    assert outputs_of("endpoint", {}) == ()


def test_nothing_is_said_of_an_unknown_type() -> None:
    assert ports_of("nobodys", {}) is None
    assert inputs_of("nobodys", {}) is None
    assert outputs_of("nobodys", {}) is None


def test_a_registered_name_wins_over_another_spelling(specs: Mapping[str, NodeSpec]) -> None:
    job = NodeSpec("job", NodeProps)
    assert known_type("job", {"job": job}) == "job"
    assert known_type("job", specs) == "person_job"
