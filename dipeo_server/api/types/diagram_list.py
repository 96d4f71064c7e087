"""Lists of stored diagrams."""

from __future__ import annotations

import strawberry

from dipeo_server.api.context import OperationContext
from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.execution import Diagram, stored_diagram
from dipeo_server.api.types.paging import PageInfo, diagram_cursor, page_info
from dipeo_server.domains.execution.diagram_store import DiagramQuery


@object_type
class DiagramConnectionEdge:
    """A diagram in a list."""

    node: Diagram = strawberry.field(description="The diagram.")
    cursor: str = strawberry.field(description="Its place in the list.")


@object_type
class DiagramConnection:
    """A page of diagrams, newest first."""

    edges: list[DiagramConnectionEdge] = strawberry.field(description="The diagrams with places.")
    nodes: list[Diagram] = strawberry.field(description="The diagrams.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    total_count: int = strawberry.field(description="How many there are on all pages.")


async def diagram_page(context: OperationContext, query: DiagramQuery) -> DiagramConnection:
    """A page of the list. Raises InvalidInput for a cursor of nothing."""
    page = await context.library.list_diagrams(query)
    edges = [
        DiagramConnectionEdge(node=stored_diagram(found, context), cursor=diagram_cursor(found.id))
        for found in page.items
    ]
    return DiagramConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=page_info(page, [edge.cursor for edge in edges]),
        total_count=page.total,
    )
