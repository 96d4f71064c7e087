"""Reads and compiles the diagram of a child execution: a file, or a map."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.children import ChildRun
from dipeo_server.domains.execution.ports import Files
from dipeo_server.errors import FileMissing, NodeError

SUFFIXES: Final[Mapping[str | None, tuple[str, ...]]] = {
    "light": (".light.yaml", ".light.yml", ".yaml", ".yml"),
    "native": (".native.json", ".json"),
    "readable": (".readable.yaml", ".readable.yml"),
    None: (".light.yaml", ".yaml", ".light.yml", ".yml", ".native.json", ".json", ".readable.yaml"),
}


class ChildInvalid(NodeError):
    """The diagram of a child cannot run."""

    code = "DIAGRAM_INVALID"


class ChildLoader:
    """The way from a sub-diagram's name to what an execution runs."""

    def __init__(
        self,
        files: Files,
        specs: Mapping[str, NodeSpec],
        check_expression: Callable[[str], str | None],
    ) -> None:
        self._files = files
        self._specs = specs
        self._check_expression = check_expression

    async def load(self, child: ChildRun, parent_path: str | None) -> ExecutableDiagram:
        """The compiled child. Raises FileMissing, PathDenied, ChildInvalid."""
        path, content = await self._content(child, parent_path)
        loaded = read_diagram(content, format=child.format, path=path, specs=self._specs)
        name = path or "the sub-diagram"
        if loaded.diagram is None:
            first = next((p.message for p in loaded.problems if p.is_error), "unreadable")
            raise ChildInvalid(f"{name} cannot be read: {first}")
        try:
            return compile_diagram(loaded.diagram, self._specs, self._check_expression).executable
        except DiagramInvalid as invalid:
            raise ChildInvalid(f"{name} cannot run: {invalid.message}") from invalid

    async def _content(self, child: ChildRun, parent_path: str | None) -> tuple[str | None, str]:
        if child.path is None:
            return parent_path, _as_text(child.document)
        tried = list(candidates(child.path, child.format, parent_path))
        for path in tried:
            if await self._files.exists(path):
                return path, await self._files.read_text(path)
        message = f"There is no diagram {child.path!r}; looked for {', '.join(tried)}."
        raise FileMissing(message, hint="Paths are relative to the base directory.")


def _as_text(document: Any) -> str:
    return document if isinstance(document, str) else orjson.dumps(document).decode()


def candidates(name: str, format_: str | None, parent_path: str | None) -> Iterator[str]:
    """Paths to try, in order: as named, below examples/ and files/, beside the parent."""
    folders = [""]
    if not name.startswith(("projects/", "files/", "examples/")):
        beside = posixpath.dirname(parent_path) if parent_path else ""
        folders += [f"{beside}/"] if beside else []
        folders += ["examples/", "files/", "projects/"]
    endings = ("",) if name.endswith((".yaml", ".yml", ".json")) else SUFFIXES.get(format_, ())
    for folder in folders:
        for ending in endings or SUFFIXES[None]:
            yield f"{folder}{name}{ending}"
