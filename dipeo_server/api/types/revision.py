"""One state of a diagram, whether it is stored or only runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Protocol

import strawberry

from dipeo_server.api import documents
from dipeo_server.api.context import Info, OncePerKey, OperationContext
from dipeo_server.api.stored import Reading, read_revision
from dipeo_server.api.types.arguments import Format, NodeKey
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import (
    DiagramEdge,
    DiagramNode,
    DiagramProblem,
    Graph,
    Person,
    diagram_edge,
    diagram_node,
    diagram_problem,
)
from dipeo_server.api.types.rendering import DrawnAs, rendered
from dipeo_server.domains.diagram import problem
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.rendering.composing import compose_compiled, compose_document
from dipeo_server.domains.diagram.rendering.picture import Picture
from dipeo_server.domains.execution.diagram_store import StoredRevision


class Origin(Protocol):
    """Where a revision comes from: its graph, its document, and what is wrong with it."""

    async def graph(self) -> Graph:
        """The compiled diagram. Raises DiagramInvalid."""
        ...

    async def problems(self) -> tuple[problem.DiagramProblem, ...]:
        """Errors and warnings, as this server sees them now."""
        ...

    async def content(self, format_: str) -> str:
        """The document in that format. Raises InvalidInput, DiagramInvalid."""
        ...

    async def composer(self) -> Callable[[], Picture]:
        """What makes a picture of it. Raises DiagramInvalid where it cannot be read."""
        ...


class RunningOrigin:
    """A diagram that is only known from a run of it."""

    def __init__(self, context: OperationContext, running: Graph) -> None:
        self._services = context.services
        self._running = running

    async def graph(self) -> Graph:
        """The diagram as it runs."""
        return self._running

    async def problems(self) -> tuple[problem.DiagramProblem, ...]:
        """What would be said about the diagram if it were sent now."""
        return documents.problems_of(Loaded(self._running.as_document), self._services)

    async def content(self, format_: str) -> str:
        """The diagram as far as its compiled form holds it."""
        return write_diagram(self._running.as_document, format_)

    async def composer(self) -> Callable[[], Picture]:
        """What draws the diagram as it runs."""
        return partial(compose_compiled, self._running.diagram, self._services.specs)


class StoredOrigin:
    """A stored revision; `running` is its diagram where a run of it is shown.

    The document is read when somebody first asks for what only it tells.
    """

    def __init__(
        self, context: OperationContext, stored: StoredRevision, running: Graph | None = None
    ) -> None:
        self._specs = context.services.specs
        self._stored = stored
        self._running = running
        self._readings = OncePerKey(partial(read_revision, context))

    async def graph(self) -> Graph:
        """The diagram as it runs, or would run."""
        if self._running is None:
            self._running = Graph((await self._reading()).executable)
        return self._running

    async def problems(self) -> tuple[problem.DiagramProblem, ...]:
        """What there is to say about the document, with lines and columns."""
        return (await self._reading()).problems

    async def content(self, format_: str) -> str:
        """The document, in its own format as it was sent."""
        return (await self._reading()).content(format_)

    async def composer(self) -> Callable[[], Picture]:
        """What draws it: as it runs, or as it was sent if it cannot run any more."""
        if self._running is not None:
            return partial(compose_compiled, self._running.diagram, self._specs)
        reading = await self._reading()
        if reading.compiled is None and reading.loaded.diagram is not None:
            return partial(compose_document, reading.loaded.diagram, self._specs)
        return partial(compose_compiled, reading.executable, self._specs)

    async def _reading(self) -> Reading:
        return await self._readings.load(self._stored)


@object_type
class RevisionContent:
    """What a revision holds; the base of `DiagramRevision`."""

    number: int = strawberry.field(description="1, 2, 3 …; 0 for an inline document.")
    content_hash: str = strawberry.field(description="The graph hash that a resume compares.")
    created_at: datetime = strawberry.field(description="When it was stored.")
    origin: strawberry.Private[Origin]

    @computed
    async def nodes(self) -> list[DiagramNode]:
        """All nodes, in document order."""
        graph = await self.origin.graph()
        return [diagram_node(graph, node) for node in graph.diagram.nodes]

    @computed
    async def edges(self) -> list[DiagramEdge]:
        """All edges, in document order."""
        graph = await self.origin.graph()
        return [diagram_edge(graph, edge) for edge in graph.diagram.edges]

    @computed
    async def persons(self) -> list[Person]:
        """All persons, in document order."""
        graph = await self.origin.graph()
        return [
            Person(
                key=person.key,
                label=person.label,
                service=person.service,
                model=person.model,
                system_prompt=person.system_prompt,
                secret_ref=person.api_key_id,
            )
            for person in graph.diagram.persons
        ]

    @computed
    async def node(self, key: NodeKey) -> DiagramNode | None:
        """One node."""
        return (await self.origin.graph()).node(key)

    @computed
    async def problems(self) -> list[DiagramProblem]:
        """Errors and warnings, as this server sees them now."""
        return [diagram_problem(each) for each in await self.origin.problems()]

    @computed
    async def content(self, format: Format) -> str:
        """The diagram as a document; a stored one is in its own format as it was sent."""
        return await self.origin.content(format)

    @computed
    async def render(self, info: Info, format: DrawnAs) -> str:
        """A picture of the diagram, even if this server cannot run it any more."""
        return await rendered(await self.origin.composer(), format, info.context)
