"""Older names, camelCase twins, dotted keys and memory profiles."""

from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.formats.node_fields import DOTS_MAX, normal_props
from dipeo_server.domains.diagram.spec import NodeSpec


def props_of(type_: str, *bags: Mapping[str, Any], spec: NodeSpec | None = None) -> dict[str, Any]:
    faults: list[str] = []
    props = normal_props(type_, bags, spec, faults.append)
    assert faults == []
    return props


@pytest.mark.parametrize(
    "type_, written, meant",
    [
        ("endpoint", {"file_path": "a"}, {"file_name": "a"}),
        ("endpoint", {"filePath": "a"}, {"file_name": "a"}),
        ("code_job", {"filePath": "a", "code_type": "b"}, {"file_path": "a", "language": "b"}),
        ("db", {"source_details": "a"}, {"file": "a"}),
        ("json_schema_validator", {"strict": True}, {"strict_mode": True}),
        ("json_schema_validator", {"schema": {}}, {"json_schema": {}}),
        ("code_job", {"functionName": "f"}, {"function_name": "f"}),
        (
            "sub_diagram",
            {"passInputData": True, "ignoreIfSub": True, "batchInputKey": "k"},
            {"pass_input_data": True, "ignore_if_sub": True, "batch_input_key": "k"},
        ),
        ("typescript_ast", {"includeRawAST": True}, {"include_raw_ast": True}),
        ("api_job", {"file_path": "a", "someThing": 1}, {"file_path": "a", "someThing": 1}),
        ("any", {"join": "K_OF_N", "fan_out": "FIRST"}, {"join": "k_of_n", "fan_out": "first"}),
        ("any", {"maxIteration": 3}, {"max_iteration": 3}),
    ],
)  # fmt: skip
def test_older_and_camel_case_names_are_understood(
    type_: str, written: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert props_of(type_, written) == meant


def test_a_camel_case_twin_of_any_declared_field_is_understood(
    specs: Mapping[str, NodeSpec],
) -> None:
    written = {"firstOnlyPrompt": "a", "nobodysField": 1}
    meant = {"first_only_prompt": "a", "nobodysField": 1}
    assert props_of("person_job", written, spec=specs["person_job"]) == meant


def test_an_older_name_beside_the_newer_one_is_left_alone() -> None:
    both = {"file_name": "new", "file_path": "old"}
    assert props_of("endpoint", both) == both
    assert props_of("endpoint", dict(reversed(both.items()))) == both


def test_a_later_bag_wins_under_whatever_name() -> None:
    assert props_of("endpoint", {"file_name": "props"}, {"file_path": "direct"}) == {
        "file_name": "direct"
    }


def test_a_start_has_empty_data() -> None:
    assert props_of("start", {}) == {"custom_data": {}, "output_data_structure": {}}
    given = props_of("start", {"custom_data": {"a": 1}, "output_data_structure": None})
    assert given == {"custom_data": {"a": 1}, "output_data_structure": {}}


@pytest.mark.parametrize(
    "written, meant",
    [
        ({"memory_profile": "FULL"}, {"memorize_to": "ALL_MESSAGES"}),
        ({"memory_profile": "focused"}, {"memorize_to": "CONVERSATION_PAIRS"}),
        ({"memory_profile": "MINIMAL"}, {"memorize_to": "SYSTEM_AND_ME"}),
        ({"memory_profile": "GOLDFISH"}, {"memorize_to": "GOLDFISH"}),
        ({"memory_profile": "ONLY_ME"}, {"memorize_to": "SENT_TO_ME"}),
        ({"memory_profile": "ONLY_I_SENT"}, {"memorize_to": "SENT_BY_ME"}),
        ({"memory_profile": "FULL", "memorize_to": "mine"}, {"memorize_to": "mine"}),
        ({"memory_profile": None}, {}),
        ({"memory_profile": "CUSTOM"}, {"memory_profile": "CUSTOM"}),
        ({"memory_config": {}, "memory_settings": {}, "at_most": 3}, {"at_most": 3}),
    ],
)
def test_memory_profiles_become_memory_rules(
    written: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert props_of("person_job", written) == meant


def test_memory_profiles_mean_nothing_elsewhere() -> None:
    assert props_of("db", {"memory_profile": "FULL"}) == {"memory_profile": "FULL"}


def test_dotted_keys_become_maps() -> None:
    written = {"a.b.c": 1, "a.b.d": 2, "e": {"f": 3}, "e.g": 4, ".x": 5, "y..z": 6}
    assert props_of("any", written) == {
        "a": {"b": {"c": 1, "d": 2}},
        "e": {"f": 3, "g": 4},
        ".x": 5,
        "y..z": 6,
    }
    assert written["e"] == {"f": 3}


@pytest.mark.parametrize(
    "written, fault",
    [
        ({"a": 1, "a.b": 2}, "needs a map where 'a'"),
        ({"a": {"b": 1}, "a.b.c": 2}, "needs a map where 'a'"),
        ({".".join("a" * (DOTS_MAX + 1)): 1}, "more than 16 parts"),
        ({".".join("a" * 100_000): 1}, "more than 16 parts"),
        ({"a.b": 1, "a.b.c": 1}, "needs a map where 'a'"),
    ],
)
def test_a_dotted_key_that_does_not_fit_is_complained_of(
    written: dict[str, Any], fault: str
) -> None:
    faults: list[str] = []
    normal_props("any", (written,), None, faults.append)
    assert len(faults) == 1
    assert fault in faults[0]


def test_dotted_keys_do_not_get_round_the_limit_of_depth() -> None:
    value: Any = 1
    for _ in range(60):
        value = [value]
    faults: list[str] = []
    props = normal_props("any", ({"a.b.c.d.e.f": value},), None, faults.append)
    assert props == {}
    assert "too deeply" in faults[0]


def test_many_dotted_keys_below_one_map_are_quick() -> None:
    written = {f"a.k{n}": n for n in range(50_000)} | {"a": {f"m{n}": n for n in range(50_000)}}
    assert len(props_of("any", written)["a"]) == 100_000
