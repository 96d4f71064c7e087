"""Queries: everything that reads and never runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Final, TypeAlias

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from dipeo_server.api import documents, ids
from dipeo_server.api.access_query import AccessQueries
from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.documents import Document
from dipeo_server.api.graph_changing import GraphPreviews
from dipeo_server.api.live_barriers import waiting_in
from dipeo_server.api.stored import off_the_loop
from dipeo_server.api.types.arguments import After, Before, First, Last
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.diagram import DiagramReport, diagram_report
from dipeo_server.api.types.diagram_list import DiagramConnection, diagram_page
from dipeo_server.api.types.enums import DiagramFormat, ErrorCode
from dipeo_server.api.types.execution import (
    Barrier,
    Diagram,
    ExecutionConnection,
    ExecutionStateType,
    barrier,
    execution_page,
    find_checkpoint,
    find_diagram,
    find_execution,
    find_revision,
    run_revision,
    stored_diagram,
)
from dipeo_server.api.types.inputs import DiagramFilter, Filter, diagram_query, execution_query
from dipeo_server.api.types.node_state import output_of
from dipeo_server.api.types.node_types import NodeTypeInfo, node_type_info
from dipeo_server.api.types.paging import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Node,
    diagram_at,
    execution_at,
    only_one_direction,
    page_size,
)
from dipeo_server.api.types.server import ServerInfo
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.execution.checkpoint import is_checkpoint_id
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID
from dipeo_server.domains.execution.ports import ExecutionQuery
from dipeo_server.domains.execution.state import ExecutionView

NODES_MAX: Final = PAGE_MAX

AnyID: TypeAlias = Annotated[strawberry.ID, strawberry.argument(description="The id.")]
AnyIDs: TypeAlias = Annotated[
    list[strawberry.ID], strawberry.argument(description="The ids, at most 100.")
]
Content: TypeAlias = Annotated[str, strawberry.argument(description="The document.")]
OptionalFormat: TypeAlias = Annotated[
    DiagramFormat | None,
    strawberry.argument(description="The document's format; null = detect it."),
]
ChosenDiagrams: TypeAlias = Annotated[
    DiagramFilter | None, strawberry.argument(description="Which diagrams; null = all of them.")
]
Name: TypeAlias = Annotated[str, strawberry.argument(description="The whole name, exactly.")]
OptionalExecution: TypeAlias = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only of this run; null = of all.")
]


@object_type
class Query(GraphPreviews, AccessQueries):
    """Everything that reads. Nothing here runs or changes anything."""

    @computed
    async def node(self, info: Info, id: AnyID) -> Node | None:
        """Anything by its id; null if there is no such thing."""
        return await _find(info.context, id)

    @computed
    async def nodes(self, info: Info, ids: AnyIDs) -> list[Node | None]:
        """Several things by their ids, in the order of the ids."""
        page_size(len(ids) or None, default=0, maximum=NODES_MAX, name="ids")
        return [await _find(info.context, each) for each in ids]

    @computed
    def server_info(self, info: Info) -> ServerInfo:
        """What the server is, and what it allows."""
        services = info.context.services
        facts, problem = services.facts, services.storage_problem()
        return ServerInfo(
            version=facts.version,
            schema_hash=info.context.schema_hash(),
            isolation=facts.isolation,
            limits=JSON(
                {to_camel_case(name): limit for name, limit in asdict(services.limits).items()}
                | dict(facts.limits)
            ),
            store=facts.store,
            storage_problem=None if problem is None else ErrorCode(problem.code),
            runner=facts.runner,
        )

    @computed
    def node_types(self, info: Info) -> list[NodeTypeInfo]:
        """Every type of node that this server can run."""
        specs = info.context.services.specs
        return [node_type_info(specs[type_]) for type_ in sorted(specs)]

    @computed
    async def diagram(self, info: Info, id: AnyID) -> Diagram | None:
        """One stored diagram; null if there is none with that id."""
        return await find_diagram(info.context, DiagramID(id))

    @computed
    async def diagram_by_name(self, info: Info, name: Name) -> Diagram | None:
        """The newest stored diagram of that name that is not archived; null if there is none."""
        found = await info.context.library.find_by_name(name)
        return None if found is None else stored_diagram(found, info.context)

    @computed
    async def diagrams(
        self,
        info: Info,
        first: First = PAGE_DEFAULT,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: ChosenDiagrams = None,
    ) -> DiagramConnection:
        """Stored diagrams, newest first."""
        only_one_direction({"after": after, "last": last, "before": before})
        query = replace(
            diagram_query(filter),
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            after=diagram_at(after, "after"),
            last=None if last is None else page_size(last, default=PAGE_DEFAULT, name="last"),
            before=diagram_at(before, "before"),
        )
        return await diagram_page(info.context, query)

    @computed
    async def validate_diagram(
        self, info: Info, content: Content, format: OptionalFormat = None
    ) -> DiagramReport:
        """Reads, never runs: problems with line, column and a hint."""
        services = info.context.services

        def judge() -> tuple[Loaded, tuple[DiagramProblem, ...]]:
            loaded = documents.read(Document(content=content, format=format), services)
            return loaded, documents.problems_of(loaded, services)

        return diagram_report(*await off_the_loop(content, judge))

    @computed
    async def execution(self, info: Info, id: AnyID) -> ExecutionStateType | None:
        """One run; null if there is none with that id."""
        return await find_execution(info.context, ExecutionID(id))

    @computed
    async def executions(
        self,
        info: Info,
        first: First = PAGE_DEFAULT,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Filter = None,
    ) -> ExecutionConnection:
        """Runs, newest first."""
        only_one_direction({"after": after, "last": last, "before": before})
        query = replace(
            execution_query(filter),
            first=page_size(first, default=PAGE_DEFAULT, name="first"),
            after=execution_at(after, "after"),
            last=None if last is None else page_size(last, default=PAGE_DEFAULT, name="last"),
            before=execution_at(before, "before"),
        )
        return await execution_page(info, query)

    @computed
    async def barrier(self, info: Info, id: AnyID) -> Barrier | None:
        """One barrier; null if there is none with that id."""
        found = await _find(info.context, id)
        return found if isinstance(found, Barrier) else None

    @computed
    async def waiting_barriers(
        self, info: Info, execution_id: OptionalExecution = None, first: First = PAGE_DEFAULT
    ) -> list[Barrier]:
        """Where somebody is asked right now."""
        size = page_size(first, default=PAGE_DEFAULT, name="first")
        if execution_id is not None:
            return (await _waiting(info.context, ExecutionID(execution_id)))[:size]
        query = ExecutionQuery(has_waiting_barriers=True, is_active=True, first=size)
        page = await info.context.runner.list_executions(query)
        found: list[Barrier] = []
        for row in page.items:
            if len(found) < size:
                found.extend(await _waiting(info.context, row.id))
        return found[:size]


async def _waiting(context: OperationContext, execution_id: ExecutionID) -> list[Barrier]:
    view = await context.views.load(execution_id)
    return [] if view is None else waiting_in(view)


async def _find(context: OperationContext, id_: str) -> Node | None:
    if ids.is_execution_id(id_):
        return await find_execution(context, ExecutionID(id_))
    if ids.is_diagram_id(id_):
        return await find_diagram(context, DiagramID(id_))
    if is_checkpoint_id(id_):
        return await find_checkpoint(context, id_)
    part = ids.decode(id_)
    if part is not None and part.stored_revision is not None:
        return await find_revision(context, *part.stored_revision)
    view = await context.views.load(part.execution_id) if part is not None else None
    return None if part is None or view is None else await _part(context, view, part)


async def _part(context: OperationContext, view: ExecutionView, part: ids.PartID) -> Node | None:
    match part.kind:
        case ids.Kind.BARRIER:
            found = next((each for each in view.barriers if each.id == part.barrier), None)
            return barrier(found, view.id) if found is not None else None
        case ids.Kind.ENVELOPE:
            return await output_of(context, view, part.node, part.occurrence)
        case ids.Kind.REVISION:
            is_own = view.diagram_id is None or view.mutations > 0
            is_whole = is_own and not part.node and not part.occurrence
            return await run_revision(view, context) if is_whole else None
        case ids.Kind.DECISION:
            return None
