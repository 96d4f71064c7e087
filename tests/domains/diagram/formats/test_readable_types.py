"""Which type a readable node has that does not say so."""

import pytest

from dipeo_server.domains.diagram.formats.handles import DIPEO_TYPES
from dipeo_server.domains.diagram.formats.readable_types import TELLING_FIELDS, told_type


def told(*fields: str, is_entered: bool = True, is_left: bool = True) -> str | None:
    return told_type(fields, is_entered=is_entered, is_left=is_left)


@pytest.mark.parametrize(
    "fields, type_",
    [
        (["trigger_mode"], "start"),
        (["code", "language"], "code_job"),
        (["functionName"], "code_job"),
        (["file_path", "language"], "code_job"),
        (["condition_type", "person", "flipped"], "condition"),
        (["operation", "sub_type", "file"], "db"),
        (["operation", "prompt"], "db"),
        (["provider", "operation"], "integrated_api"),
        (["hook_type", "url"], "hook"),
        (["url", "method"], "api_job"),
        (["save_to_file", "file_name"], "endpoint"),
        (["file_path"], "endpoint"),
        (["person", "default_prompt", "max_iteration"], "person_job"),
        (["prompt_file"], "person_job"),
        (["passInputData", "batch"], "sub_diagram"),
        (["includeRawAST"], "typescript_ast"),
        (["prompt", "timeout"], "user_response"),
        (["prompt", "default_action"], "barrier"),
        (["seconds"], "delay"),
        (["rules"], "transform"),
    ],
)
def test_fields_tell_the_type(fields: list[str], type_: str) -> None:
    assert told(*fields) == type_


def test_every_type_of_the_source_documents_can_be_told() -> None:
    assert {type_ for type_, _ in TELLING_FIELDS} >= DIPEO_TYPES


def test_a_node_without_fields_is_what_the_flow_makes_of_it() -> None:
    assert told(is_entered=False, is_left=True) == "start"
    assert told("flipped", is_entered=False, is_left=False) == "start"
    assert told(is_entered=True, is_left=False) == "endpoint"
    assert told(is_entered=True, is_left=True) is None


def test_a_field_that_any_type_may_have_tells_nothing() -> None:
    assert told("max_iteration", "timeout", is_entered=False) is None
