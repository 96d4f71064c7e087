"""What is printed for other tools and for the documentation: the schema, the node types."""

from __future__ import annotations

import sys
from pathlib import Path

from dipeo_server.api.schema import print_schema_sdl
from dipeo_server.app import node_types
from dipeo_server.cli.node_pages import pages
from dipeo_server.cli.outcome import Unusable


def export_schema(output: Path | None) -> None:
    """The GraphQL schema in its own language. Raises Unusable."""
    _write(print_schema_sdl(node_types().specs), output)


def export_nodes(output: Path | None) -> None:
    """The reference of node types in Markdown. Raises Unusable."""
    _write(pages(node_types().specs.values()), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unusable(f"Cannot write {output}: {reason}.") from error
