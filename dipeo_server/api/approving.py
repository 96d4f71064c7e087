"""Who may approve: what decides a barrier, or stands in for its decision, needs an approver."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dipeo_server.api.context import OperationContext
from dipeo_server.api.permissions import ARGUMENTS
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.errors import Forbidden

APPROVED: Final = frozenset({"barrier", "sub_diagram", "parallel"})
"""What is a barrier, or may have some inside: a result by hand would pass them all."""

QUESTION: Final = "user_response"
GENERATIONS_MAX: Final = 100


def require_argument(context: OperationContext, name: str, *, is_given: bool) -> None:
    """Raises Forbidden where an argument is given that needs more than its field does."""
    if is_given:
        context.require(ARGUMENTS[name], name)


async def check_results(
    context: OperationContext,
    argument: str,
    diagram: ExecutableDiagram,
    node_keys: Iterable[str],
    run: ExecutionID | None = None,
) -> None:
    """May these nodes be given results by hand? None: whoever asks begins the run with them.

    A barrier that has a result is a barrier that was passed, and so are those inside of a node that
    has one. Raises Forbidden.
    """
    barriers = [key for key in node_keys if _type_of(diagram, key) in APPROVED]
    if not barriers:
        return
    context.require(ARGUMENTS[argument], f"{argument} for {barriers[0]!r}, which may approve,")
    if run is not None:
        await check_starter(context, run, barriers[0])
    elif not context.services.lets_starters_approve:
        raise _own(context)


async def check_starter(
    context: OperationContext, execution_id: ExecutionID, node_key: str
) -> None:
    """Raises Forbidden for whoever started the run, where starters may not approve.

    Questions are no approvals: whoever started a run may answer them.
    """
    if context.services.lets_starters_approve:
        return
    view = await context.views.load(execution_id)
    if view is not None and _type_of(view.diagram, node_key) == QUESTION:
        return
    if await _starter(context, execution_id) == context.principal:
        raise _own(context)


async def _starter(context: OperationContext, execution_id: ExecutionID) -> str | None:
    """Who started the run; of a sub-diagram the run that it is part of."""
    sought: ExecutionID | None = execution_id
    for _ in range(GENERATIONS_MAX):
        view = None if sought is None else await context.views.load(sought)
        if view is None:
            return None
        if view.actor is not None:
            return view.actor
        sought = view.parent_id
    return None


def _type_of(diagram: ExecutableDiagram, node_key: str) -> str | None:
    index = diagram.index_of.get(node_key)
    return None if index is None else diagram.nodes[index].type


def _own(context: OperationContext) -> Forbidden:
    message = f"{context.principal!r} started the run, and so may not decide its barriers."
    return Forbidden(message, hint="Somebody else who is an approver has to decide.")
