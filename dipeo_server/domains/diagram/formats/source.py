"""A document that is being read: its values, its places, and the problems met so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.loaded import Findings
from dipeo_server.domains.diagram.model import Location
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

Path = tuple[str | int, ...]

SHOWN_CHARACTERS_MAX: Final = 80


class Document(Protocol):
    """Plain JSON values and where each was written, whatever the syntax."""

    @property
    def data(self) -> Any:
        """The value of the whole."""

    @property
    def root(self) -> Location:
        """Where the whole begins."""

    def location(self, *path: str | int) -> Location:
        """The place of a key or item; of the nearest thing around it where there is none."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the readers of nodes, persons and connections share."""

    document: Document
    specs: Mapping[str, NodeSpec]
    findings: Findings = field(default_factory=Findings)

    def report(  # noqa: PLR0913 - the fields of a problem, all but two of them by name.
        self,
        code: str,
        message: str,
        *,
        at: Path,
        hint: str | None = None,
        node: str | None = None,
        edge: str | None = None,
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Note a problem at a path of the document."""
        place = self.document.location(*at)
        self.findings.add(DiagramProblem(severity, code, message, hint, node, edge, place))

    def maps(self, name: str, hint: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The items of the top-level list `name` that are maps; others are reported."""
        section = self.document.data.get(name)
        if section is None:
            return
        if not isinstance(section, list):
            self.report("INVALID_FIELD", f"`{name}` must be a list.", at=(name,), hint=hint)
            return
        for index, item in enumerate(section):
            if isinstance(item, dict):
                yield index, item
            else:
                message = f"Item {index + 1} of `{name}` must be a map."
                self.report("INVALID_FIELD", message, at=(name, index), hint=hint)

    def text(self, raw: Mapping[str, Any], name: str, at: Path) -> str | None:
        """The field as a text; None if it is absent, null or empty. Maps and lists are reported."""
        value = raw.get(name)
        if value is None:
            return None
        found = as_text(value)
        if found is None:
            self.report("INVALID_FIELD", f"`{name}` must be a text.", at=(*at, name))
        return found or None

    def metadata(self) -> Mapping[str, Any]:
        """The top-level `metadata`; empty if there is none, or if it is no map."""
        metadata = self.document.data.get("metadata")
        if metadata is None or isinstance(metadata, dict):
            return metadata or {}
        self.report("INVALID_FIELD", "`metadata` must be a map.", at=("metadata",))
        return {}

    def check_version(self, format_: str) -> None:
        """Warn where the document says that it is in another format than it is read as."""
        version = self.document.data.get("version")
        if version is not None and as_text(version) != format_:
            self.report(
                "FORMAT_VERSION",
                f"The document is read as {format_}, which is not what its `version` says.",
                at=("version",),
                hint=f"Write `version: {format_}`.",
                severity=Severity.WARNING,
            )


def no_map(document: Document, message: str, hint: str) -> DiagramProblem:
    """The problem of a document that is no map; `message` if it is not even empty."""
    is_empty = document.data is None
    return DiagramProblem(
        Severity.ERROR,
        "DOCUMENT_EMPTY" if is_empty else "DOCUMENT_NOT_A_MAP",
        "The document is empty." if is_empty else message,
        hint=hint,
        location=document.root,
    )


def shown(text: str) -> str:
    """A text of the document as messages quote it."""
    return repr(text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…")
