"""Unknown fields: kept beside the known ones, or in `$extra` where they would mean something else.

A format has fields that another does not know. What is unknown in one document may be a field of
its own in the next; there it is written below `$extra`, and read back from it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

EXTRA: Final = "$extra"


def unknown_fields(raw: Mapping[str, Any], own: Container[str]) -> dict[str, Any]:
    """The fields of `raw` that are none of its `own`, those below `$extra` included."""
    found = {name: value for name, value in raw.items() if name not in own and name != EXTRA}
    if EXTRA not in raw:
        return found
    hidden = raw[EXTRA]
    if isinstance(hidden, dict) and not hidden.keys() & found.keys():
        return {**found, **hidden}
    return {**found, EXTRA: hidden}


def with_unknown_fields(
    written: Mapping[str, Any], extra: Mapping[str, Any], own: Container[str]
) -> dict[str, Any]:
    """The written fields and the unknown ones, so that `unknown_fields` gives `extra` again."""
    beside = {name: value for name, value in extra.items() if name not in own and name != EXTRA}
    hidden = {name: value for name, value in extra.items() if name not in beside}
    return {**written, **beside, **({EXTRA: hidden} if hidden else {})}
