"""The fields of a node: older and camelCase names, dotted keys, and values that changed names.

Whatever format a node was written in, its props go through `normal_props`, so that one diagram has
one meaning and one content hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.declared import declared_fields
from dipeo_server.domains.diagram.formats.json_values import fault_of
from dipeo_server.domains.diagram.spec import NodeSettings, NodeSpec

# Older names per type; writing light turns them round.
ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "endpoint": {"file_path": "file_name"},
    "code_job": {"code_type": "language"},
    "db": {"source_details": "file"},
    "json_schema_validator": {"strict": "strict_mode"},
}
# Names that only documentation uses: read, never written.
_LOOSE_ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "json_schema_validator": {"schema": "json_schema"},
}
# Names that DiPeO itself writes in camelCase.
CAMEL_ON_EXPORT: Final[Mapping[str, Mapping[str, str]]] = {
    "sub_diagram": {"passInputData": "pass_input_data"},
}
_CAMEL: Final[Mapping[str, str]] = {
    "filePath": "file_path",
    "functionName": "function_name",
    "passInputData": "pass_input_data",
    "ignoreIfSub": "ignore_if_sub",
    "batchInputKey": "batch_input_key",
    "includeRawAST": "include_raw_ast",
}
MEMORY_PROFILES: Final[Mapping[str, str]] = {
    "FULL": "ALL_MESSAGES",
    "FOCUSED": "CONVERSATION_PAIRS",
    "MINIMAL": "SYSTEM_AND_ME",
    "GOLDFISH": "GOLDFISH",
    "ONLY_ME": "SENT_TO_ME",
    "ONLY_I_SENT": "SENT_BY_ME",
}
_DROPPED: Final[Mapping[str, frozenset[str]]] = {
    "person_job": frozenset({"memory_config", "memory_settings"}),
}
# What an absent field is, where leaving it out and writing it empty mean the same.
EMPTY_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("custom_data", "output_data_structure"),
}
# Settings of the engine whose values are words, written in any case.
_WORDS: Final = ("join", "fan_out", "after_crash")
DOTS_MAX = 16

_SEAM: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def normal_props(
    type_: str,
    bags: tuple[Mapping[str, Any], ...],
    spec: NodeSpec | None,
    complain: Callable[[str], None],
) -> dict[str, Any]:
    """The props of a node of that type; a later bag wins over an earlier one.

    `complain` is called with the sentence of every fault; the field in question is then left as
    it was written.
    """
    declared = _declared(spec)
    merged: dict[str, Any] = {}
    for bag in bags:
        merged.update(_renamed(bag, type_, declared))
    for name in _DROPPED.get(type_, ()):
        merged.pop(name, None)
    props = _nested(merged, complain)
    if type_ == "person_job":
        _take_memory_profile(props)
    for name in EMPTY_FIELDS.get(type_, ()):
        if props.get(name) is None:
            props[name] = {}
    for name in _WORDS:
        if isinstance(props.get(name), str):
            props[name] = props[name].lower()
    return props


def said_props(type_: str, props: Mapping[str, Any]) -> dict[str, Any]:
    """The props without those that `normal_props` fills in."""
    empty = EMPTY_FIELDS.get(type_, ())
    return {name: value for name, value in props.items() if name not in empty or value != {}}


def _declared(spec: NodeSpec | None) -> frozenset[str]:
    settings = declared_fields(NodeSettings)
    return settings if spec is None else settings | declared_fields(spec.props)


def _renamed(bag: Mapping[str, Any], type_: str, declared: frozenset[str]) -> dict[str, Any]:
    aliases = {**ALIASES.get(type_, {}), **_LOOSE_ALIASES.get(type_, {})}
    renamed: dict[str, Any] = {}
    for name, value in bag.items():
        plain = _snake(name, declared)
        new = aliases.get(plain, plain)
        renamed[name if new != name and (new in bag or new in renamed) else new] = value
    return renamed


def _snake(name: str, declared: frozenset[str]) -> str:
    """The declared name of which `name` is the camelCase twin, or `name`."""
    if name in _CAMEL:
        return _CAMEL[name]
    if name in declared or not _SEAM.search(name):
        return name
    snake = _SEAM.sub("_", name).lower()
    return snake if snake in declared else name


# --- dotted keys --------------------------------------------------------------------------------


def _nested(flat: Mapping[str, Any], complain: Callable[[str], None]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {name: value for name, value in flat.items() if not _is_dotted(name)}
    roots: set[str] = set()
    owned: dict[int, dict[str, Any]] = {}
    for name, value in flat.items():
        if not _is_dotted(name):
            continue
        path = name.split(".", DOTS_MAX)
        if len(path) > DOTS_MAX:
            complain(f"the key {name[:40]!r} has more than {DOTS_MAX} parts")
        elif _set_deep(nested, path, value, owned):
            roots.add(path[0])
        else:
            complain(f"the key {name!r} needs a map where {path[0]!r} has another value")
    for root in sorted(roots):
        if fault_of(nested[root]) is not None:
            complain(f"the dotted keys below {root!r} are nested too deeply")
            del nested[root]
    return nested


def _is_dotted(name: str) -> bool:
    return "." in name and not name.startswith(".") and not name.endswith(".") and ".." not in name


def _set_deep(
    target: dict[str, Any], path: list[str], value: Any, owned: dict[int, dict[str, Any]]
) -> bool:
    """Set `path` in `target`; False if there is another value where a map is needed.

    A map on the way is copied once, for the document it came from is not ours to change; `owned`
    holds the copies.
    """
    current = target
    for step in path[:-1]:
        inner = current.get(step)
        if inner is not None and not isinstance(inner, dict):
            return False
        if id(inner) not in owned:
            inner = dict(inner or {})
            owned[id(inner)] = inner
            current[step] = inner
        current = current[step]
    current[path[-1]] = value
    return True


# --- memory profiles ----------------------------------------------------------------------------


def _take_memory_profile(props: dict[str, Any]) -> None:
    profile = props.get("memory_profile")
    rule = MEMORY_PROFILES.get(profile.upper()) if isinstance(profile, str) else None
    if profile is None or rule is not None or props.get("memorize_to") is not None:
        props.pop("memory_profile", None)
    if rule is not None and props.get("memorize_to") is None:
        props["memorize_to"] = rule
