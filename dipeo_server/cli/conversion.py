"""`dipeo-server convert`: the same diagram in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dipeo_server.cli import documents
from dipeo_server.cli.options import DiagramFormat
from dipeo_server.cli.outcome import ExitCode, Unusable, tell
from dipeo_server.cli.problems import line_of
from dipeo_server.cli.validation import as_in_the_api
from dipeo_server.cli.writing import write_output
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.formats.json_values import DOCUMENT_BYTES_MAX
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.node_types import node_types

_KIB: Final = 1024
_ENDS: Final = ".light.yaml, .native.json, .readable.yaml"


def convert_file(
    file: Path,
    *,
    to: DiagramFormat | None,
    from_: DiagramFormat | None,
    output: Path | None,
    may_overwrite: bool = False,
) -> ExitCode:
    """Write the diagram in a file anew; USAGE if it cannot be read as a whole.

    Tells every problem of reading. What a diagram means is not judged here. Raises Unusable, also
    for an output that is the file itself unless it may be overwritten, and InvalidInput for a
    diagram that the format cannot hold.
    """
    wanted = _wanted(to, output)
    if not may_overwrite and _is_same(file, output):
        message = f"{output} is the file to convert, and its comments would be lost."
        raise Unusable(message, hint="Name another --output, or say --overwrite.")
    diagram = _read(file, from_)
    if diagram is None:
        return ExitCode.USAGE
    content = write_diagram(diagram, wanted).encode()
    if len(content) > DOCUMENT_BYTES_MAX:
        raise Unusable(
            f"As {wanted} the diagram has {len(content) // _KIB} KiB, "
            f"and what has more than {DOCUMENT_BYTES_MAX // _KIB} KiB cannot be read.",
            hint="Move long texts into files, or split the diagram into sub-diagrams.",
        )
    write_output(content, output)
    return ExitCode.COMPLETED


def _wanted(to: DiagramFormat | None, output: Path | None) -> str:
    told = None if output is None else documents.format_of(output.name)
    if to is None:
        if told is None:
            message = "Nothing says which format is wanted."
            raise Unusable(message, hint=f"Say so with --to, or by the end of --output: {_ENDS}.")
        return told.lower()
    if output is not None and told is not None and told.lower() != to:
        message = f"A file called {output.name!r} would not be read as {to.value}."
        raise Unusable(message, hint=f"Give it an end that says so: {_ENDS}.")
    return to.value


def _is_same(file: Path, output: Path | None) -> bool:
    try:
        return output is not None and output.samefile(file)
    except OSError:
        return False  # One of the two is not there.


def _read(file: Path, from_: DiagramFormat | None) -> DomainDiagram | None:
    """The diagram; None if some of it cannot be read, for that would be lost without a word."""
    document = documents.read(file, Path())
    format_ = from_.value if from_ else document.format
    loaded = read_diagram(
        document.content, specs=node_types().specs, format=format_, path=file.name
    )
    for problem in loaded.problems:
        tell(line_of(as_in_the_api(problem), file))
    if loaded.has_errors:
        tell(f"{file} was not converted: what cannot be read would be lost.")
        return None
    return loaded.diagram
