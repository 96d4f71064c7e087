"""One mutation of a request: its idempotency key, and how its answer becomes a payload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from dipeo_server.api.context import Info
from dipeo_server.api.keys import idempotency_key
from dipeo_server.api.types.execution import execution_state
from dipeo_server.api.types.payloads import ExecutionPayload
from dipeo_server.api.types.problems import REFUSALS, UserError, user_error
from dipeo_server.domains.diagram.nearest import did_you_mean
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey
from dipeo_server.domains.execution.signals import Signal
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import DipeoError, InvalidState, NotFound


class Call:
    """One mutation, by its GraphQL name and with its arguments; `about` names the run, if any."""

    def __init__(
        self,
        info: Info,
        name: str,
        arguments: Mapping[str, object],
        key: str | None,
        about: str | None = None,
    ) -> None:
        self.context = info.context
        self.about = None if about is None else ExecutionID(about)
        self._name = name
        self._arguments = arguments
        self._key = key
        self._made: IdempotencyKey | None = None

    def key(self) -> IdempotencyKey | None:
        """The key as the runner takes it. Raises InvalidInput."""
        if self._made is None:
            self._made = idempotency_key(self.context, self._name, self._arguments, self._key)
        return self._made

    async def tell(self, wish: Signal) -> Accepted:
        """Tell the run that the call is about. Raises what the runner raises."""
        if self.about is None:
            raise RuntimeError("This call is about no run.")
        return await self.context.runner.signal(self.about, wish, self.key())

    async def payload(self, act: Callable[[], Awaitable[Accepted]]) -> ExecutionPayload:
        """The run behind what `act` did, or why it did nothing."""
        try:
            view = await self.behind(await act())
        except REFUSALS as refusal:
            return ExecutionPayload(errors=[await self.problem(refusal)])
        return ExecutionPayload(execution=execution_state(view))

    async def behind(self, accepted: Accepted) -> ExecutionView:
        """The run as it is now that it has changed. Raises NotFound if it is deleted by now."""
        view = await self.context.fresh_view(accepted.execution_id)
        if view is None:
            raise NotFound(f"Execution {accepted.execution_id!r} has been deleted.")
        return view

    async def problem(self, refusal: DipeoError) -> UserError:
        """The refusal as a value; where the run's state is the reason, with what is allowed."""
        view = None
        if self.about is not None and isinstance(refusal, InvalidState):
            view = await self.context.fresh_view(self.about)
        return user_error(refusal, self.about, view)

    async def run(self, node_key: str | None = None) -> ExecutionView:
        """The run that the call is about. Raises NotFound where it, or its node, is not there."""
        view = None if self.about is None else await self.context.views.load(self.about)
        if view is None:
            raise NotFound(f"There is no execution {self.about!r}.")
        if node_key is not None and node_key not in view.diagram.index_of:
            hint = did_you_mean(node_key, view.diagram.index_of)
            raise NotFound(f"The diagram has no node {node_key!r}.", hint=hint)
        return view
