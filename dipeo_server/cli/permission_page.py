"""The reference of permissions, written from what is declared."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Final

from dipeo_server.api.authorization import declared_fields
from dipeo_server.api.permissions import ARGUMENTS, VIEWER
from dipeo_server.domains.access.roles import Permission, Role

LINE_CHARACTERS: Final = 100

_ROOTS: Final = ("Query", "Mutation", "Subscription")
_HEAD: Final = """\
# Permissions

Written by `make docs` from `dipeo_server/api/permissions.py`; a schema with a field that is not
declared there cannot be built. What roles are, and how tokens get them: [security](security.md).

An operation needs what its fields and arguments need together. It is looked at as a whole before it
begins: whoever lacks a permission gets a FORBIDDEN that names the field, and nothing is done.
Arguments are looked at when the mutation is about to be carried out. A field of an interface needs
what it needs in any of the types that have it. What a schema consists of (`__schema`, `__type`,
`__typename`) may be asked by everybody who has been let in.

Every role may do what the ones above it may; *approver* is given to a token beside its role.
"""


def permission_page() -> str:
    """The page in Markdown; ends with a newline."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    fields = declared_fields()
    yield _HEAD
    yield "| field | needs |"
    yield "|---|---|"
    for root in _ROOTS:
        for (type_name, name), permission in sorted(fields.items(), key=_order):
            if type_name == root:
                yield f"| `{root}.{name}` | {_words(permission)} |"
    yield ""
    yield "## Arguments"
    yield ""
    yield "Where these are given, more is needed. What concerns results holds for barriers, and for"
    yield "what may have some inside (`sub_diagram`, `parallel`): a result that is given to one of"
    yield "those stands in for approvals."
    yield ""
    yield "| argument | needs |"
    yield "|---|---|"
    for argument, permission in ARGUMENTS.items():
        yield f"| `{argument}` | {_words(permission)} |"
    yield ""
    yield "## Everything else"
    yield ""
    higher = [
        f"`{type_name}.{name}` ({_words(permission)})"
        for (type_name, name), permission in sorted(fields.items())
        if type_name not in _ROOTS and permission != VIEWER
    ]
    types = sorted({type_name for type_name, _ in fields} - set(_ROOTS))
    but = f", but for {', '.join(higher)}" if higher else ""
    yield f"Each field of these types may be asked by a viewer{but}; which of them somebody comes"
    yield "to see depends on the fields above:"
    yield ""
    yield from wrap(", ".join(f"`{name}`" for name in types) + ".", LINE_CHARACTERS)


def _order(item: tuple[tuple[str, str], Permission]) -> tuple[int, bool, str]:
    (_, name), permission = item
    return permission.role.rank, permission.needs_approver, name


def _words(permission: Permission) -> str:
    if not permission.needs_approver:
        return permission.role.value
    return "approver" if permission.role is Role.VIEWER else f"{permission.role.value}, approver"
