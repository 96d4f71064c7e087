"""Connections: page info, the arguments that every page takes, and opaque cursors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import strawberry

from dipeo_server.api.types.described import interface, object_type
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.errors import InvalidInput

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100
_CURSOR: Final = "execution:"


@interface
class Node:
    """Anything that `node(id)` finds again."""

    id: strawberry.ID = strawberry.field(description="Opaque, the same for ever.")


@object_type
class PageInfo:
    """Where a page lies in the whole list."""

    has_next_page: bool = strawberry.field(description="Is there more behind this page?")
    has_previous_page: bool = strawberry.field(description="Is there more before this page?")
    start_cursor: str | None = strawberry.field(
        default=None, description="Cursor of the first item; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        default=None, description="Cursor of the last item; null on an empty page."
    )


def page_size(count: int | None, *, default: int, maximum: int = PAGE_MAX, name: str) -> int:
    """The size that was asked for. Raises InvalidInput outside 1 to `maximum`."""
    if count is None:
        return default
    if not 1 <= count <= maximum:
        message = f"`{name}` must be between 1 and {maximum}, not {count}."
        raise InvalidInput(message, field=(name,))
    return count


def cursor_of(execution_id: ExecutionID) -> str:
    """The place of an execution in a list."""
    return base64.urlsafe_b64encode((_CURSOR + execution_id).encode()).decode()


def execution_at(cursor: str | None, name: str) -> ExecutionID | None:
    """The execution that a cursor stands for. Raises InvalidInput for anything else."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    if not text.startswith(_CURSOR):
        hint = "Pass a cursor as the server gave it."
        raise InvalidInput(f"`{name}` is no cursor of this list.", field=(name,), hint=hint)
    return ExecutionID(text.removeprefix(_CURSOR))


def only_one_direction(arguments: Mapping[str, object]) -> None:
    """Raises InvalidInput where a page is asked for from both ends."""
    given = [name for name in ("last", "before") if arguments.get(name) is not None]
    if given and arguments.get("after") is not None:
        message = f"`after` and `{given[0]}` cannot be combined."
        raise InvalidInput(message, field=(given[0],), hint="Page in one direction at a time.")
