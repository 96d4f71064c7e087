"""The node types of DiPeO with their handles, and the handles of any type of this server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dipeo_server.domains.diagram.spec import ONE_IN_ONE_OUT, NodeSpec, Ports

# Used where this server has no handler that would say it better.
DIPEO_PORTS: Final[Mapping[str, Ports]] = {
    "start": Ports(inputs=()),
    "endpoint": Ports(outputs=()),
    "condition": Ports(outputs=("condtrue", "condfalse")),
    "person_job": Ports(inputs=("default", "first")),
    "code_job": ONE_IN_ONE_OUT,
    "api_job": ONE_IN_ONE_OUT,
    "db": ONE_IN_ONE_OUT,
    "user_response": ONE_IN_ONE_OUT,
    "hook": ONE_IN_ONE_OUT,
    "template_job": ONE_IN_ONE_OUT,
    "sub_diagram": ONE_IN_ONE_OUT,
    "json_schema_validator": ONE_IN_ONE_OUT,
    "typescript_ast": ONE_IN_ONE_OUT,
    "integrated_api": ONE_IN_ONE_OUT,
    "ir_builder": ONE_IN_ONE_OUT,
    "diff_patch": ONE_IN_ONE_OUT,
}
DIPEO_TYPES: Final = frozenset(DIPEO_PORTS)
TYPE_ALIASES: Final[Mapping[str, str]] = {"job": "person_job"}
BRANCHES: Final[Mapping[str, str]] = {"condtrue": "true", "condfalse": "false"}
# What `on_error: {policy: error_port}` of any node puts a failure on.
ERROR_PORT: Final = "error"


def ports_of(type_: str, specs: Mapping[str, NodeSpec]) -> Ports | None:
    """The handles of a type; None if nobody knows the type."""
    spec = specs.get(type_)
    return spec.ports if spec is not None else DIPEO_PORTS.get(type_)


def inputs_of(type_: str, specs: Mapping[str, NodeSpec]) -> tuple[str, ...] | None:
    """The handles an edge may go into; None if nobody knows the type."""
    ports = ports_of(type_, specs)
    return None if ports is None else ports.inputs


def outputs_of(type_: str, specs: Mapping[str, NodeSpec]) -> tuple[str, ...] | None:
    """The handles an edge may come from; None if nobody knows the type.

    `error` is among them for every type that has any.
    """
    ports = ports_of(type_, specs)
    if ports is None or not ports.outputs or ERROR_PORT in ports.outputs:
        return None if ports is None else ports.outputs
    return (*ports.outputs, ERROR_PORT)


def known_type(written: str, specs: Mapping[str, NodeSpec]) -> str:
    """The type meant by what somebody wrote, in any case; as written if nobody knows it."""
    if written in specs:
        return written
    folded = written.strip().lower()
    folded = TYPE_ALIASES.get(folded, folded)
    if folded in specs or folded in DIPEO_TYPES:
        return folded
    for name in specs:
        if name.lower() == folded:
            return name
    return written
