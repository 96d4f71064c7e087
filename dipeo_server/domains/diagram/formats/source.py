"""A YAML document that is being read: its values, its places, and the problems met so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.loaded import Findings
from dipeo_server.domains.diagram.formats.yaml_document import YamlDocument
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What the readers of nodes, persons and connections share."""

    document: YamlDocument
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
