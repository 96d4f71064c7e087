"""Connections: page info, the arguments that every page takes, and opaque cursors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import strawberry

from dipeo_server.api.types.described import interface, object_type
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, Seq
from dipeo_server.errors import InvalidInput

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100
NUMBER_DIGITS_MAX: Final = 18
_EXECUTION: Final = "execution:"
_DIAGRAM: Final = "diagram:"
_REVISION: Final = "revision:"
_CHECKPOINT: Final = "checkpoint:"


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


class Page(Protocol):
    """A page of any list of the stores."""

    @property
    def has_next(self) -> bool:
        """Is there more behind it?"""
        ...

    @property
    def has_previous(self) -> bool:
        """Is there more before it?"""
        ...


def page_info(page: Page, cursors: Sequence[str]) -> PageInfo:
    """Where a page lies whose items have these cursors."""
    return PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
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
    return _encoded(_EXECUTION + execution_id)


def diagram_cursor(diagram_id: DiagramID) -> str:
    """The place of a diagram in a list."""
    return _encoded(_DIAGRAM + diagram_id)


def revision_cursor(number: int) -> str:
    """The place of a revision among those of its diagram."""
    return _encoded(f"{_REVISION}{number}")


def execution_at(cursor: str | None, name: str) -> ExecutionID | None:
    """The execution that a cursor stands for. Raises InvalidInput for anything else."""
    return None if cursor is None else ExecutionID(_decoded(cursor, name, _EXECUTION))


def diagram_at(cursor: str | None, name: str) -> DiagramID | None:
    """The diagram that a cursor stands for. Raises InvalidInput for anything else."""
    return None if cursor is None else DiagramID(_decoded(cursor, name, _DIAGRAM))


def revision_at(cursor: str | None, name: str) -> int | None:
    """The number of the revision that a cursor stands for. Raises InvalidInput otherwise."""
    return _number_at(cursor, name, _REVISION)


def checkpoint_cursor(at: Seq) -> str:
    """The place of a checkpoint among those of its run."""
    return _encoded(f"{_CHECKPOINT}{at}")


def checkpoint_at(cursor: str | None, name: str) -> Seq | None:
    """The sequence of the checkpoint that a cursor stands for. Raises InvalidInput otherwise."""
    number = _number_at(cursor, name, _CHECKPOINT)
    return None if number is None else Seq(number)


def _number_at(cursor: str | None, name: str, kind: str) -> int | None:
    if cursor is None:
        return None
    number = _decoded(cursor, name, kind)
    if not (number.isascii() and number.isdigit() and len(number) <= NUMBER_DIGITS_MAX):
        raise _no_cursor(name)
    return int(number)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decoded(cursor: str, name: str, kind: str) -> str:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    if not text.startswith(kind):
        raise _no_cursor(name)
    return text.removeprefix(kind)


def _no_cursor(name: str) -> InvalidInput:
    hint = "Pass a cursor as the server gave it."
    return InvalidInput(f"`{name}` is no cursor of this list.", field=(name,), hint=hint)


def only_one_direction(arguments: Mapping[str, object]) -> None:
    """Raises InvalidInput where a page is asked for from both ends."""
    given = [name for name in ("last", "before") if arguments.get(name) is not None]
    if given and arguments.get("after") is not None:
        message = f"`after` and `{given[0]}` cannot be combined."
        raise InvalidInput(message, field=(given[0],), hint="Page in one direction at a time.")
