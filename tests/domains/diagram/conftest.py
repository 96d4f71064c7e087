"""Node types made up for these tests, with the names and handles of DiPeO's."""

from collections.abc import Mapping
from textwrap import dedent

import pytest
from pydantic import Field

from dipeo_server.domains.diagram.formats.light import read_light
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports


class PersonProps(NodeProps):
    person: str | None = None
    default_prompt: str | None = None
    first_only_prompt: str | None = None
    max_iteration: int = Field(100, ge=1)
    memorize_to: str | None = None


class CodeProps(NodeProps):
    language: str = "python"
    code: str | None = None
    file_path: str | None = None
    function_name: str = "main"
    timeout: float = Field(30, gt=0)


class ConditionProps(NodeProps):
    condition_type: str = "custom"
    expression: str | None = None
    person: str | None = None


class EndpointProps(NodeProps):
    save_to_file: bool = False
    file_name: str | None = None
    file_format: str | None = None


class ValidatorProps(NodeProps):
    json_schema_: dict[str, object] | None = Field(None, alias="json_schema")
    strict_mode: bool = False


TYPES = (
    NodeSpec("start", NodeProps, Ports(inputs=()), is_pure=True),
    NodeSpec("endpoint", EndpointProps, Ports(outputs=())),
    NodeSpec("person_job", PersonProps, Ports(inputs=("default", "first"))),
    NodeSpec("code_job", CodeProps),
    NodeSpec("condition", ConditionProps, Ports(outputs=("condtrue", "condfalse")), branches=True),
    NodeSpec("db", NodeProps),
    NodeSpec("template_job", NodeProps),
    NodeSpec("sub_diagram", NodeProps),
    NodeSpec("user_response", NodeProps),
    NodeSpec("json_schema_validator", ValidatorProps),
    NodeSpec(
        "barrier",
        NodeProps,
        Ports(outputs=("default", "approved", "rejected", "skipped")),
        branches=True,
    ),
    NodeSpec("MyStep", CodeProps),
)


@pytest.fixture(scope="session")
def specs() -> Mapping[str, NodeSpec]:
    return {spec.type: spec for spec in TYPES}


class Reader:
    """Reads light text in which node types are the made-up ones."""

    def __init__(self, specs: Mapping[str, NodeSpec]) -> None:
        self.specs = specs

    def __call__(self, text: str) -> Loaded:
        return read_light(dedent(text), specs=self.specs)


@pytest.fixture(scope="session")
def read(specs: Mapping[str, NodeSpec]) -> Reader:
    return Reader(specs)
