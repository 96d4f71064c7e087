"""Reading a log for clients: events in order with what they need of the log before, and lines."""

from __future__ import annotations

from collections.abc import Sequence

from dipeo_server.api.context import OperationContext, read_log
from dipeo_server.api.history import Before
from dipeo_server.api.types.event_bases import ExecutionEvent
from dipeo_server.api.types.events import ExecutionEventConnection
from dipeo_server.api.types.logs import LogConnection, log_line, place_of
from dipeo_server.api.types.paging import PageInfo, page_size
from dipeo_server.api.types.recorded import Translator
from dipeo_server.api.types.scalars import encode_sequence
from dipeo_server.domains.execution.events import DiagramMutated, ExecutionStarted, Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Runner

EVENTS_DEFAULT = 100
EVENTS_MAX = 1_000


class Teller:
    """Tells the events behind `after`, one by one and in order."""

    def __init__(self, runner: Runner, execution_id: ExecutionID, after: Seq) -> None:
        self._runner = runner
        self._id = execution_id
        self._translator: Translator | None = None
        self._before = Before(is_complete=after == 0)

    async def tell(self, recorded: Recorded) -> ExecutionEvent:
        """The event's GraphQL value; the log before it is read once, and only if it must be."""
        if not self._before.knows(recorded):
            before = Before(is_complete=True)
            for earlier in await read_log(self._runner, self._id, Seq(recorded.seq - 1)):
                before.observe(earlier)
            self._before = before
        if self._translator is None:
            self._translator = Translator(self._id, await self._revision(recorded))
        self._translator.observe(recorded)
        told = self._translator.translate(recorded, self._before)
        self._before.observe(recorded)
        return told

    async def _revision(self, recorded: Recorded) -> int:
        """The revision that runs at this event: as the first one has it, or the last change."""
        view = await self._runner.view(self._id) if recorded.seq > 1 else None
        log: Sequence[Recorded] = [recorded]
        if view is not None and view.mutations:
            log = await read_log(self._runner, self._id, recorded.seq)
        elif view is not None:
            log = await self._runner.read_events(self._id, after=Seq(0), limit=1)
        revision = 0
        for each in log:
            match each.event:
                case ExecutionStarted(revision=number) | DiagramMutated(revision_number=number):
                    revision = number
                case _:
                    pass
        return revision

    def pass_over(self, recorded: Recorded) -> None:
        """Take note of an event that nobody wants to hear."""
        self._before.observe(recorded)
        if self._translator is not None:
            self._translator.observe(recorded)


async def event_page(
    context: OperationContext,
    execution_id: ExecutionID,
    *,
    first: int | None,
    after: Seq,
    upto: Seq | None = None,
) -> ExecutionEventConnection:
    """At most `first` events behind `after`, up to `upto`. Raises InvalidInput."""
    size = page_size(first, default=EVENTS_DEFAULT, maximum=EVENTS_MAX, name="first")
    limit = size + 1 if upto is None else min(size + 1, upto - after)
    found: Sequence[Recorded] = ()
    if limit > 0:
        found = await context.runner.read_events(execution_id, after=after, limit=limit)
    teller = Teller(context.runner, execution_id, after)
    nodes = [await teller.tell(recorded) for recorded in found[:size]]
    return ExecutionEventConnection(
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=len(found) > size,
            has_previous_page=after > 0,
            start_cursor=encode_sequence(nodes[0].sequence) if nodes else None,
            end_cursor=encode_sequence(nodes[-1].sequence) if nodes else None,
        ),
    )


async def log_page(
    context: OperationContext,
    execution_id: ExecutionID,
    *,
    first: int | None,
    after: str | None,
    node: str | None,
) -> LogConnection:
    """At most `first` lines behind `after`. Raises InvalidInput."""
    size = page_size(first, default=EVENTS_DEFAULT, maximum=EVENTS_MAX, name="first")
    place = place_of(after)
    found = await context.runner.read_logs(execution_id, after=place, limit=size + 1, node=node)
    nodes = [log_line(record) for record in found[:size]]
    return LogConnection(
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=len(found) > size,
            has_previous_page=place > 0,
            start_cursor=nodes[0].cursor if nodes else None,
            end_cursor=nodes[-1].cursor if nodes else None,
        ),
    )
