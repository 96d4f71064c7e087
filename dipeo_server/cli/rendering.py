"""`dipeo-server render`: a diagram or a run as DOT or Mermaid text, or as an image."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dipeo_server.app import image_renderer
from dipeo_server.cli import documents, looking_back
from dipeo_server.cli.options import Drawing
from dipeo_server.cli.outcome import ExitCode, Unusable, tell
from dipeo_server.cli.problems import line_of
from dipeo_server.cli.remote import Remote
from dipeo_server.cli.validation import as_in_the_api
from dipeo_server.cli.writing import write_output
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.rendering.composing import compose_document
from dipeo_server.domains.diagram.rendering.picture import RenderFormat
from dipeo_server.domains.diagram.rendering.renderer import IMAGES, text_of
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.node_types import node_types

_FORMATS: Final[Mapping[str, RenderFormat]] = {
    ".dot": RenderFormat.DOT,
    ".gv": RenderFormat.DOT,
    ".mermaid": RenderFormat.MERMAID,
    ".mmd": RenderFormat.MERMAID,
    ".png": RenderFormat.PNG,
    ".svg": RenderFormat.SVG,
}


@dataclass(frozen=True, slots=True)
class DrawnRun:
    """Which run of which server is drawn: as of event `at`, or its execution graph.

    `has_sub_diagrams`: the graph with the runs of its sub-diagrams.
    """

    url: str
    execution_id: str | None
    at: int | None = None
    is_graph: bool = False
    has_sub_diagrams: bool = False

    @property
    def shown(self) -> looking_back.Shown:
        """What of it is drawn."""
        if self.has_sub_diagrams:
            return looking_back.Shown.GRAPH_WITH_SUB_DIAGRAMS
        return looking_back.Shown.GRAPH if self.is_graph else looking_back.Shown.DIAGRAM


def render_run(run: DrawnRun, *, to: Drawing | None, output: Path | None) -> ExitCode:
    """Draw a run of a server. Raises Unusable."""
    format_ = _wanted(to, output)
    assert run.execution_id is not None
    return looking_back.draw(
        Remote(run.url),
        run.execution_id,
        format_=format_.name,
        output=output,
        at=run.at,
        shown=run.shown,
    )


def render_file(
    file: Path | None, base_dir: Path, *, to: Drawing | None, output: Path | None, beside: DrawnRun
) -> ExitCode:
    """Draw one file; USAGE if it cannot be read.

    `beside`: what was asked of a run, which must be nothing. Raises Unusable, RendererMissing,
    RenderFailed.
    """
    if file is None or beside.execution_id is not None:
        raise Unusable("Name either a file or, with --run, a run.")
    if beside.at is not None or beside.shown is not looking_back.Shown.DIAGRAM:
        message = "--at, --graph and --sub-diagrams are for runs."
        raise Unusable(message, hint="Name the run with --run.")
    format_ = _wanted(to, output)
    specs = node_types().specs
    diagram = _read(file, base_dir, specs)
    if diagram is None:
        return ExitCode.USAGE
    drawn = text_of(compose_document(diagram, specs), format_).encode()
    if format_ in IMAGES:
        drawn = asyncio.run(image_renderer().draw(drawn.decode(), IMAGES[format_]))
    write_output(drawn, output)
    return ExitCode.COMPLETED


def _wanted(to: Drawing | None, output: Path | None) -> RenderFormat:
    format_ = RenderFormat(to.value) if to else _format_of(output)
    if format_ is RenderFormat.PNG and output is None and sys.stdout.isatty():
        message = "A PNG image is no text for a terminal."
        raise Unusable(message, hint="Name a file with --output, or redirect the output.")
    return format_


def _format_of(output: Path | None) -> RenderFormat:
    if output is None:
        return RenderFormat.DOT
    found = _FORMATS.get(output.suffix.lower())
    if found is None:
        names = ", ".join(sorted(_FORMATS))
        message = f"The name {output.name!r} does not say which format is wanted."
        raise Unusable(message, hint=f"Say so with --to, or by its end: {names}.")
    return found


def _read(file: Path, base_dir: Path, specs: Mapping[str, NodeSpec]) -> DomainDiagram | None:
    """The diagram, if enough of it can be read to draw it; tells what cannot be."""
    document = documents.read(file, base_dir)
    loaded = read_diagram(document.content, specs=specs, format=document.format, path=document.path)
    for problem in loaded.problems:
        if problem.is_error:
            tell(line_of(as_in_the_api(problem), file))
    return loaded.diagram
