"""Mutations of stored diagrams: create, update, archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api import keys
from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.stored import draft_of
from dipeo_server.api.types.arguments import Key
from dipeo_server.api.types.described import mutation, object_type
from dipeo_server.api.types.execution import stored_diagram, stored_revision
from dipeo_server.api.types.inputs import DiagramInput, document_of
from dipeo_server.api.types.payloads import DiagramPayload
from dipeo_server.api.types.problems import REFUSALS, diagram_error
from dipeo_server.domains.execution.diagram_store import DiagramAccepted, DiagramDraft
from dipeo_server.domains.execution.ids import DiagramID

DiagramArgument: TypeAlias = Annotated[
    strawberry.ID, strawberry.argument(description="The diagram.")
]
Kept: TypeAlias = Annotated[
    DiagramInput, strawberry.argument(description="The diagram as it is to be kept.")
]
Expected: TypeAlias = Annotated[
    int,
    strawberry.argument(
        description="The number of the revision that the change was made from; it must be the head."
    ),
]


@object_type
class DiagramMutation:
    """Everything that changes a stored diagram."""

    @mutation
    async def create_diagram(
        self, info: Info, input: Kept, idempotency_key: Key = None
    ) -> DiagramPayload:
        """Keep a diagram. It must be able to run."""
        context = info.context

        async def create() -> DiagramAccepted:
            key = keys.idempotency_key(context, "createDiagram", {"input": input}, idempotency_key)
            return await context.library.create(await _draft(input, context), key)

        return await _payload(context, create)

    @mutation
    async def update_diagram(
        self,
        info: Info,
        id: DiagramArgument,
        expected_revision: Expected,
        input: Kept,
        idempotency_key: Key = None,
    ) -> DiagramPayload:
        """Keep a new revision of a diagram; a document that has not changed makes none."""
        context = info.context
        arguments = {"id": id, "expectedRevision": expected_revision, "input": input}

        async def update() -> DiagramAccepted:
            key = keys.idempotency_key(context, "updateDiagram", arguments, idempotency_key)
            draft = await _draft(input, context)
            return await context.library.update(
                DiagramID(id), draft, expected=expected_revision, key=key
            )

        return await _payload(context, update)

    @mutation
    async def archive_diagram(
        self, info: Info, id: DiagramArgument, idempotency_key: Key = None
    ) -> DiagramPayload:
        """Put a diagram away: it can neither be changed nor run any more. Its runs stay."""
        context = info.context

        async def archive() -> DiagramAccepted:
            key = keys.idempotency_key(context, "archiveDiagram", {"id": id}, idempotency_key)
            return await context.library.archive(DiagramID(id), key)

        return await _payload(context, archive)


async def _draft(given: DiagramInput, context: OperationContext) -> DiagramDraft:
    services = context.services
    return await draft_of(document_of(given, services.specs, ("input",)), services)


async def _payload(
    context: OperationContext, change: Callable[[], Awaitable[DiagramAccepted]]
) -> DiagramPayload:
    """The diagram behind the change, or why nothing was changed."""
    try:
        accepted = await change()
    except REFUSALS as refusal:
        return DiagramPayload(errors=[diagram_error(refusal, context)])
    context.diagrams.forget(accepted.diagram.id)
    return DiagramPayload(
        diagram=stored_diagram(accepted.diagram, context),
        revision=stored_revision(accepted.revision, context),
    )
