"""What is printed for tools and for the documentation: schema, permissions, node types."""

from __future__ import annotations

from pathlib import Path

from dipeo_server.api.schema import print_schema_sdl
from dipeo_server.cli.node_pages import pages
from dipeo_server.cli.permission_page import permission_page
from dipeo_server.cli.writing import write_output
from dipeo_server.node_types import node_types


def export_schema(output: Path | None) -> None:
    """The GraphQL schema in its own language. Raises Unusable."""
    write_output(print_schema_sdl(node_types().specs).encode(), output)


def export_permissions(output: Path | None) -> None:
    """Who may ask for which field, in Markdown. Raises Unusable."""
    write_output(permission_page().encode(), output)


def export_nodes(output: Path | None) -> None:
    """The reference of node types in Markdown. Raises Unusable."""
    write_output(pages(node_types().specs.values()).encode(), output)
