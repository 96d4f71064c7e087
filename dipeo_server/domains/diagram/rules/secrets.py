"""No secret is written in a diagram: it would be stored, shown and copied with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.rules.view import ERROR, View, about_node

_HINT: Final = "Write a reference such as `secret://NAME`, or a template such as `{{name}}`."
_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
# A field is secret if one of these is part of its name …
_SECRET: Final = frozenset({"password", "passwd", "passphrase", "token", "secret", "apikey"})
_SECRET_PAIRS: Final = frozenset({("api", "key"), ("private", "key"), ("key", "value")})
# … unless its last word says that it only tells where, how or how much.
_ABOUT: Final = frozenset(
    {"id", "ref", "file", "path", "url", "uri", "endpoint", "type", "field", "name", "env"}
    | {"limit", "budget", "count", "policy", "prompt", "label", "hint", "description"}
)
# The values of these maps are names of other fields.
_MAPPINGS: Final = frozenset({"input_mapping", "output_mapping", "mapping"})


def secret_literal(view: View) -> Iterator[DiagramProblem]:
    """SECRET_LITERAL: a password or token stands in the diagram itself."""
    for node in view.nodes.values():
        for path in secret_paths(node.props):
            message = f"{node.label}: `{path}` holds a secret as plain text."
            yield about_node(ERROR, "SECRET_LITERAL", node, message, _HINT)
    for person in view.diagram.persons:
        for path in secret_paths(person.extra):
            message = f"Person {person.label!r}: `{path}` holds a secret as plain text."
            hint = "Name the key with `api_key_id`; its value belongs in the environment."
            yield DiagramProblem(
                Severity.ERROR, "SECRET_LITERAL", message, hint, location=person.location
            )


def secret_paths(fields: Mapping[str, Any]) -> Iterator[str]:
    """The dotted paths of secrets written out in `fields`, maps and lists within included."""
    pending: list[tuple[str, str, Any]] = [(name, name, value) for name, value in fields.items()]
    while pending:
        path, name, value = pending.pop()
        match value:
            case dict() if name not in _MAPPINGS:
                pending.extend((f"{path}.{inner}", inner, item) for inner, item in value.items())
            case list():
                pending.extend((f"{path}.{n}", "", item) for n, item in enumerate(value))
            case str() if is_secret_name(name) and not _is_reference(value):
                yield path


def is_secret_name(name: str) -> bool:
    """Would a field of that name hold a secret?"""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    return any(word in _SECRET for word in words) or any(
        pair in _SECRET_PAIRS for pair in pairwise(words)
    )


def _is_reference(value: str) -> bool:
    text = value.strip()
    return not text or "{{" in text or text.startswith(("secret://", "${", "$"))
