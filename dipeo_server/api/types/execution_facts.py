"""What is to be told about a run from its state and its log, apart from what else it leads to."""

from __future__ import annotations

from datetime import datetime, timedelta

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.context import Info, OperationContext
from dipeo_server.api.history import History
from dipeo_server.api.types.actions import available_actions, past_actions
from dipeo_server.api.types.arguments import (
    AfterLine,
    AfterSequence,
    EventsFirst,
    NodeKey,
    NodeStatuses,
    Occurrence,
    OneNodeKey,
)
from dipeo_server.api.types.described import computed, object_type
from dipeo_server.api.types.enums import ExecutionAction
from dipeo_server.api.types.events import ExecutionEventConnection
from dipeo_server.api.types.figures import (
    ExecutionMetrics,
    TimelineEntry,
    execution_metrics,
    timeline_entry,
)
from dipeo_server.api.types.interventions import (
    Breakpoint,
    EarlyDecision,
    breakpoint_of,
    early_decision,
)
from dipeo_server.api.types.logs import LogConnection
from dipeo_server.api.types.node_state import NodeState, Whole, node_state, output_of
from dipeo_server.api.types.outcome import Envelope, ExecutionError, TokenUsage, envelope
from dipeo_server.api.types.pages import EVENTS_DEFAULT, event_page, log_page
from dipeo_server.api.types.rendering import DrawnAs, rendered
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.picture import compose_run
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import NotFound


@object_type
class ExecutionFacts:
    """What a run tells about itself; the base of `ExecutionState`.

    `as_of` is the time of its last event where an earlier state is shown, else None.
    """

    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    is_active: bool = strawberry.field(description="Has it not ended?")
    started_at: datetime | None = strawberry.field(description="When it started.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    duration: timedelta | None = strawberry.field(description="From start to end.")
    error: ExecutionError | None = strawberry.field(description="Why it failed.")
    token_usage: TokenUsage = strawberry.field(description="What it has cost so far.")
    last_sequence: Seq = strawberry.field(description="Its last event in this snapshot.")
    execution_id: strawberry.Private[ExecutionID]
    view: strawberry.Private[ExecutionView | None]
    as_of: strawberry.Private[datetime | None] = None

    @computed
    async def variables(self, info: Info) -> JSON:
        """The execution variables."""
        return JSON(dict((await self.loaded_view(info)).variables))

    @computed
    async def available_actions(self, info: Info) -> list[ExecutionAction]:
        """What can be done to it now; whether a node is in the state for it, the answer tells."""
        if self.status.is_terminal and self.as_of is None:
            return [ExecutionAction.FORK]
        view = await self.loaded_view(info)
        return available_actions(view) if self.as_of is None else past_actions(view)

    @computed
    async def pause_reason(self, info: Info) -> str | None:
        """Why it is paused, as whoever paused it says; null while it is not."""
        view = await self.loaded_view(info)
        return view.pause_reason if view.status is ExecutionStatus.PAUSED else None

    @computed
    async def pause_cause(self, info: Info) -> str | None:
        """What paused it: user, start_paused, step, breakpoint, max_steps, max_tokens, max_seconds
        or parent; null while it is not.
        """
        view = await self.loaded_view(info)
        return view.pause_cause if view.status is ExecutionStatus.PAUSED else None

    @computed
    async def breakpoints(self, info: Info) -> list[Breakpoint]:
        """Where it pauses."""
        return [breakpoint_of(given) for given in (await self.loaded_view(info)).breakpoints]

    @computed
    async def early_decisions(self, info: Info) -> list[EarlyDecision]:
        """Decisions on barriers to come that can still be used, oldest first."""
        view, now = await self.loaded_view(info), self.as_of or info.context.services.now()
        return [
            early_decision(made, view.id)
            for made in view.early_decisions
            if made.expires_at is None or made.expires_at > now
        ]

    @computed
    async def max_steps(self, info: Info) -> int:
        """Steps after which it pauses."""
        return (await self.loaded_view(info)).max_steps

    @computed
    async def max_tokens(self, info: Info) -> int | None:
        """Tokens of models after which it pauses; null = no limit."""
        return (await self.loaded_view(info)).budget.max_tokens

    @computed
    async def max_time(self, info: Info) -> timedelta | None:
        """Time of being RUNNING after which it pauses; null = no limit."""
        seconds = (await self.loaded_view(info)).budget.max_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    @computed
    async def node_states(self, info: Info, statuses: NodeStatuses = None) -> list[NodeState]:
        """How each node stands, in document order."""
        view = await self.loaded_view(info)
        whole = whole_of(view, info.context)
        wanted = None if statuses is None else set(statuses)
        return [
            node_state(node.key, stood, whole)
            for node, stood in zip(view.diagram.nodes, view.nodes, strict=True)
            if wanted is None or stood.status in wanted
        ]

    @computed
    async def node_state(self, info: Info, node_key: NodeKey) -> NodeState | None:
        """How one node stands."""
        view = await self.loaded_view(info)
        index = view.diagram.index_of.get(node_key)
        if index is None:
            return None
        return node_state(node_key, view.nodes[index], whole_of(view, info.context))

    @computed
    async def node_outputs(self, info: Info) -> list[Envelope]:
        """The last result of each node that has one."""
        view = await self.loaded_view(info)
        made_at = created_at_of(view)
        return [envelope(made, view.id, made_at) for made in view.outputs.values()]

    @computed
    async def output(
        self, info: Info, node_key: NodeKey, occurrence: Occurrence = None
    ) -> Envelope | None:
        """What one node gave."""
        view = await self.loaded_view(info)
        made = view.outputs.get(node_key)
        if occurrence is None or (made is not None and made.occurrence == occurrence):
            return envelope(made, view.id, created_at_of(view)) if made is not None else None
        return await output_of(info.context, view, node_key, occurrence)

    @computed
    async def events(
        self,
        info: Info,
        first: EventsFirst = EVENTS_DEFAULT,
        after: AfterSequence = strawberry.UNSET,
    ) -> ExecutionEventConnection:
        """Its log, a page at a time."""
        behind = after if isinstance(after, int) else Seq(0)
        upto = None if self.as_of is None else self.last_sequence
        return await event_page(
            info.context, self.execution_id, first=first, after=behind, upto=upto
        )

    @computed
    async def logs(
        self,
        info: Info,
        first: EventsFirst = EVENTS_DEFAULT,
        after: AfterLine = None,
        node_key: OneNodeKey = None,
    ) -> LogConnection:
        """What its nodes printed, a page at a time."""
        return await log_page(
            info.context, self.execution_id, first=first, after=after, node=node_key
        )

    @computed
    async def metrics(self, info: Info) -> ExecutionMetrics:
        """How it went, as figures."""
        return execution_metrics(await self._history(info))

    @computed
    async def timeline(self, info: Info) -> list[TimelineEntry]:
        """Every attempt of every visit, in the order of their starts."""
        history = await self._history(info)
        return [timeline_entry(run) for run in history.runs]

    @computed
    async def render(self, info: Info, format: DrawnAs) -> str:
        """A picture of the run: its diagram, and how each node stands in this snapshot."""
        view = await self.loaded_view(info)
        specs = info.context.services.specs
        return await rendered(lambda: compose_run(view, specs), format, info.context)

    async def _history(self, info: Info) -> History:
        view = await self.loaded_view(info)
        return await info.context.histories.load((view.id, view.last_seq))

    async def loaded_view(self, info: Info) -> ExecutionView:
        """What this snapshot was made from; loaded where a list did not need it."""
        found = self.view or await info.context.views.load(self.execution_id)
        if found is None:
            raise NotFound(f"There is no execution {self.execution_id!r}.")
        return found


def whole_of(view: ExecutionView, context: OperationContext) -> Whole:
    """What the node states of a run share."""
    return Whole(
        view, created_at_of(view), lambda: context.histories.load((view.id, view.last_seq))
    )


def created_at_of(view: ExecutionView) -> datetime:
    """When the run was accepted."""
    if view.created_at is None:
        raise RuntimeError("An execution that can be seen has begun.")
    return view.created_at
