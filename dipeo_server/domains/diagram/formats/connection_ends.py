"""One end of a connection: the handle it means, and what is said of what is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dipeo_server.domains.diagram.formats.handles import inputs_of, outputs_of
from dipeo_server.domains.diagram.formats.source import Path, Source, shown
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.nearest import listed
from dipeo_server.domains.diagram.problem import Severity


@dataclass(frozen=True, slots=True)
class End:
    """A node and the handle that was written, if any; `text` and `at` are what was, and where.

    `is_strict`: it was plainly written as a handle, so it must exist.
    """

    node: DomainNode[Mapping[str, Any]]
    handle: str | None
    text: str
    at: Path
    edge: str
    is_output: bool
    is_strict: bool = True


def handle_of(source: Source, end: End) -> str:
    """The handle that an end means. One that its type does not have is reported.

    A strict one is an error; another is a warning, and `default` is taken.
    """
    if end.handle is None:
        return "default"
    handles_of = outputs_of if end.is_output else inputs_of
    handles = handles_of(end.node.type, source.specs)
    known = _known_handle(end.handle, handles)
    if known is not None:
        return known
    _report_handle(source, end, end.handle, handles or ())
    return end.handle if end.is_strict else "default"


def report_unknown_node(
    source: Source, name: str, *, word: str, known: Iterable[str], at: Path, edge: str | None
) -> None:
    """An end that names no node; `word` is what nodes are called by."""
    source.report(
        "UNKNOWN_NODE",
        f"No node has the {word} {shown(name)}.",
        at=at,
        hint=source.findings.suggest(name, known),
        edge=edge,
    )


def _known_handle(written: str, handles: tuple[str, ...] | None) -> str | None:
    if handles is None:
        return written
    spellings = (written, written.lower(), written.lower().lstrip("_"))
    return next((spelling for spelling in spellings if spelling in handles), None)


def _report_handle(source: Source, end: End, written: str, handles: tuple[str, ...]) -> None:
    role = "output" if end.is_output else "input"
    label, type_ = end.node.label, end.node.type
    instead = "" if end.is_strict else f" {end.text!r} is read as {label!r}."
    source.report(
        "UNKNOWN_HANDLE",
        f"{label!r} ({type_}) has no {role} {shown(written)}.{instead}",
        at=end.at,
        hint=f"Its {role}s are: {listed(handles)}.",
        node=end.node.key,
        edge=end.edge,
        severity=Severity.ERROR if end.is_strict else Severity.WARNING,
    )
