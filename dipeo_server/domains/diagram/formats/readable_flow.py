"""Texts of the flow of a readable document: where it leads, by which handles, as what, named what.

Newer texts are clauses, `to "Node" in "handle" as "type" naming "label"`; older ones are
`Node_handle (type)(label)`. Both become the map of fields that may be written in their place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from dipeo_server.domains.diagram.formats.content_types import known_content_type

# The fields that clauses can tell, in the order in which they are written.
CLAUSES: Final = ("from", "to", "in", "as", "naming", "key")

_CLAUSE: Final = re.compile(rf'\s*({"|".join(CLAUSES)})\s+"([^"]*)"')
_JOINT: Final = re.compile(r"\s+-\s+")
_KEYWORD: Final = re.compile(rf"(?:{'|'.join(CLAUSES)})\s*[\"']")
_GROUPS_MAX: Final = 2


def clauses(text: str) -> list[dict[str, str]] | None:
    """The destinations in a text of clauses, joined by ` - `; None if it is no such text."""
    every: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _CLAUSE.match(text, at)
        joint = None if found else _JOINT.match(text, at)
        if found and found.group(1) not in fields:
            fields[found.group(1)] = found.group(2)
            at = found.end()
        elif joint and "to" in fields:
            every.append(fields)
            fields = {}
            at = joint.end()
        else:
            return None
    return [*every, fields] if "to" in fields else None


def has_clauses(text: str) -> bool:
    """Was it meant as a text of clauses, although it may not be one?"""
    return _KEYWORD.match(text.lstrip()) is not None


def older(text: str, labels: Collection[str]) -> dict[str, str]:
    """The destination in an older text; its node and handle are both in `to`.

    What is in parentheses belongs to the node where a label reads so. Otherwise the first that is
    a content type is one, and one other is the name.
    """
    rest, groups = text.strip(), list[str]()
    while rest not in labels and rest.endswith(")") and len(groups) < _GROUPS_MAX:
        head, mark, inner = rest[:-1].rpartition("(")
        if not mark or not inner.strip() or ")" in inner:
            break
        rest = head.rstrip()
        groups.insert(0, inner.strip())
    fields = {"to": rest}
    for group in groups:
        is_type = "as" not in fields and known_content_type(group) is not None
        fields.setdefault("as" if is_type else "naming", group)
    return fields if len(fields) == len(groups) + 1 else {"to": text.strip()}


def written_clauses(fields: Mapping[str, Any]) -> str | None:
    """The text that `clauses` reads as these fields; None if there is none."""
    names = [name for name in CLAUSES if name in fields]
    text = " ".join(f'{name} "{fields[name]}"' for name in names)
    return text if "\n" not in text and clauses(text) == [fields] else None
