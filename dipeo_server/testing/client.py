"""A client for tests and scripts: GraphQL by the `gql` package, and the usual steps as methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from gql import Client as GQLClient
from gql import GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.exceptions import (
    TransportConnectionFailed,
    TransportQueryError,
)
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from dipeo_server.cli.event_fields import WHOLE_EVENTS, renamed
from dipeo_server.errors import InvalidState, NotFound
from dipeo_server.testing import operations
from dipeo_server.testing.results import Barrier, Event, Execution, Refused

Diagram: TypeAlias = Path | str | Mapping[str, Any]
"""A file; or the text of a document in any format; or {"nodes": [...], "edges": [...]}."""

SUBPROTOCOL: Final = "graphql-transport-ws"
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
RECONNECTS_MAX: Final = 5
"""How often in a row a connection may be lost without having brought an event."""
RECONNECT_SECONDS: Final = 0.1


class Client:
    """`async with Client(url) as client:` speaks to one server, with a `token` if it asks for one.

    Whatever the server refuses raises Refused, with its code and its hint.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        """`url` is that of the GraphQL endpoint."""
        self.url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._opened = AsyncExitStack()
        self._session: AsyncClientSession | None = None

    async def __aenter__(self) -> Self:
        transport = HTTPXAsyncTransport(url=self.url, headers=self._headers, timeout=60.0)
        self._session = await self._opened.enter_async_context(_gql(transport))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session = None
        await self._opened.aclose()

    # --- GraphQL --------------------------------------------------------------------------------

    @property
    def client(self) -> AsyncClientSession:
        """The session of the `gql` package. Raises InvalidState outside of `async with`."""
        if self._session is None:
            raise InvalidState("The client is not open.", hint="Use it in `async with`.")
        return self._session

    async def execute(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of a query or a mutation. Raises Refused for errors of the whole request."""
        request = GraphQLRequest(document, variable_values=variables)
        try:
            return await self.client.execute(request)
        except TransportQueryError as error:
            raise _refused(error) from error

    async def subscribe(
        self, document: str, **variables: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The data of each item of a subscription, until the server completes it.

        Raises Refused, and what gql raises where the connection is lost.
        """
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        transport = WebsocketsTransport(
            url=urlunsplit(parts._replace(scheme=scheme)),
            init_payload={name.lower(): value for name, value in self._headers.items()},
            subprotocols=[SUBPROTOCOL],
            close_timeout=1,
            connect_args={"max_size": MESSAGE_BYTES_MAX},
        )
        request = GraphQLRequest(document, variable_values=variables)
        async with _gql(transport) as session:
            try:
                async with aclosing(session.subscribe(request)) as items:
                    async for item in items:
                        yield item
            except TransportQueryError as error:
                raise _refused(error) from error

    async def _change(self, document: str, **variables: Any) -> dict[str, Any]:
        """The payload of a mutation. Raises Refused."""
        [payload] = (await self.execute(document, **variables)).values()
        if payload["errors"]:
            raise Refused(payload["errors"][0])
        found: dict[str, Any] = payload
        return found

    async def _steer(self, document: str, **variables: Any) -> Execution:
        payload = await self._change(document, **variables)
        return await self.execution(payload["execution"]["id"])

    # --- running --------------------------------------------------------------------------------

    async def start(
        self,
        diagram: Diagram,
        variables: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **options: Any,
    ) -> str:
        """Start a run; gives its id. `options` are further fields of RunDiagramInput."""
        given = {"source": {"inline": inline(diagram)}, "variables": dict(variables or {})}
        payload = await self._change(operations.START, input={**given, **options}, key=key)
        found: str = payload["execution"]["id"]
        return found

    async def run(
        self,
        diagram: Diagram,
        variables: Mapping[str, Any] | None = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - names how the run was left when it is over.
        **options: Any,
    ) -> Execution:
        """Start a run and wait for its end, whatever that is; see `raise_for_failure`.

        Raises TimeoutError, which tells what the run waits for, after so many seconds.
        """
        return await self.ended(await self.start(diagram, variables, **options), timeout=timeout)

    async def ended(
        self,
        execution_id: str,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - (as above)
    ) -> Execution:
        """The run once it has ended. Raises TimeoutError, which tells what the run waits for."""
        try:
            async with asyncio.timeout(timeout), aclosing(self.events(execution_id)) as events:
                async for _ in events:
                    pass
        except TimeoutError:
            raise TimeoutError(_unfinished(await self.execution(execution_id))) from None
        return await self.execution(execution_id)

    async def execution(self, execution_id: str) -> Execution:
        """The run as it is. Raises NotFound."""
        found = (await self.execute(operations.LOOK, id=execution_id))["execution"]
        if found is None:
            raise NotFound(f"There is no execution {execution_id!r}.")
        return Execution.of(found)

    async def events(self, execution_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Events behind `after`, then live, to the last of the run.

        Each comes once, also where the connection is lost meanwhile.
        """
        place, losses = after, 0
        while True:
            try:
                stream = self.subscribe(WHOLE_EVENTS, id=execution_id, after=str(place))
                async with aclosing(stream) as items:
                    async for item in items:
                        event = _event(item["executionEvents"])
                        place, losses = event.sequence, 0
                        yield event
                return
            except (TransportConnectionFailed, OSError):
                losses += 1
                if losses > RECONNECTS_MAX:
                    raise
                await asyncio.sleep(RECONNECT_SECONDS * losses)

    # --- people ---------------------------------------------------------------------------------

    async def barrier(
        self,
        execution_id: str,
        node: str | None = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - (as above)
    ) -> Barrier:
        """The first barrier that waits, of that node if one is named; waits until there is one.

        Raises InvalidState where the run ends before, TimeoutError.
        """
        try:
            async with asyncio.timeout(timeout), aclosing(self.events(execution_id)) as events:
                async for event in events:
                    if event.type == "BarrierWaiting" and node in (None, event.node):
                        found = await self._waiting(execution_id, node)
                        if found is not None:
                            return found
        except TimeoutError:
            raise TimeoutError(_unfinished(await self.execution(execution_id))) from None
        left = await self.execution(execution_id)
        raise InvalidState(f"The run ended without it: it is {left.status}.")

    async def _waiting(self, execution_id: str, node: str | None) -> Barrier | None:
        waiting = (await self.execution(execution_id)).barriers
        return next((each for each in waiting if node in (None, each.node)), None)

    async def decide(
        self, barrier: Barrier | str, action: str, *, key: str | None = None, **more: Any
    ) -> Barrier:
        """Decide a barrier: APPROVE, REJECT, SKIP, MODIFY or REROUTE.

        `more` are further arguments of `decideBarrier`: reason, answer, variables, reroute.
        """
        id_ = barrier.id if isinstance(barrier, Barrier) else barrier
        payload = await self._change(
            operations.DECIDE, target={"barrierId": id_}, action=action, key=key, **more
        )
        return Barrier.of(payload["barrier"])

    async def approve(self, barrier: Barrier | str, **more: Any) -> Barrier:
        """Let a barrier pass, with an `answer` where one is asked for."""
        return await self.decide(barrier, "APPROVE", **more)

    async def reject(self, barrier: Barrier | str, reason: str, **more: Any) -> Barrier:
        """Do not let a barrier pass."""
        return await self.decide(barrier, "REJECT", reason=reason, **more)

    # --- steering -------------------------------------------------------------------------------

    async def pause(self, execution_id: str, *, mode: str = "DRAIN", **more: Any) -> Execution:
        """Hold a run."""
        return await self._steer(operations.PAUSE, id=execution_id, mode=mode, **more)

    async def resume(self, execution_id: str, **more: Any) -> Execution:
        """Let a run go on; `variables`, `maxSteps`."""
        return await self._steer(operations.RESUME, id=execution_id, **more)

    async def abort(self, execution_id: str, **more: Any) -> Execution:
        """End a run; it is ABORTED once that is on disk, which `ended` waits for."""
        return await self._steer(operations.ABORT, id=execution_id, **more)

    async def step(self, execution_id: str, **more: Any) -> Execution:
        """Let one node of a paused run run; `nodeKey` says which."""
        return await self._steer(operations.STEP, id=execution_id, **more)

    async def retry(self, execution_id: str, node: str, **more: Any) -> Execution:
        """Run a failed node again."""
        return await self._steer(operations.RETRY, executionId=execution_id, nodeKey=node, **more)

    async def skip(self, execution_id: str, node: str, **more: Any) -> Execution:
        """Do not run a node in this turn."""
        return await self._steer(operations.SKIP, executionId=execution_id, nodeKey=node, **more)

    async def set_output(self, execution_id: str, node: str, output: Any, **more: Any) -> Execution:
        """Take a value as a node's result instead of running it."""
        return await self._steer(
            operations.SET_OUTPUT, executionId=execution_id, nodeKey=node, output=output, **more
        )

    async def fork(
        self, execution_id: str, at: int, *, overrides: Mapping[str, Any] | None = None, **more: Any
    ) -> Execution:
        """Go on as another run from behind event `at`; `overrides` are those of ForkOverrides."""
        return await self._steer(
            operations.FORK, id=execution_id, atSequence=str(at), overrides=overrides, **more
        )

    async def mutate(
        self, execution_id: str, *mutations: Mapping[str, Any], **more: Any
    ) -> Execution:
        """Change the graph of a run; each is a GraphMutationInput."""
        return await self._steer(
            operations.MUTATE, executionId=execution_id, mutations=list(mutations), **more
        )


def inline(diagram: Diagram) -> dict[str, Any]:
    """The DiagramInput of a file, a text or a map. Raises OSError."""
    match diagram:
        case Path():
            text = diagram.read_text("utf-8")
            return {"name": diagram.name, "content": text, "path": diagram.name}
        case str():
            return {"name": "diagram", "content": diagram}
        case _:
            return {"name": "diagram", **diagram}


def _gql(transport: HTTPXAsyncTransport | WebsocketsTransport) -> GQLClient:
    return GQLClient(transport=transport, fetch_schema_from_transport=False)


def _event(item: Mapping[str, Any]) -> Event:
    if item["__typename"] == "ResyncRequired":
        sequence = item["snapshot"]["lastSequence"]
        return Event("ResyncRequired", int(sequence), None, item)
    data = renamed(item)
    return Event(data.pop("__typename"), int(data["sequence"]), data.get("nodeKey"), data)


def _refused(error: TransportQueryError) -> Refused:
    first = error.errors[0] if error.errors else {"message": str(error)}
    return Refused(first if isinstance(first, dict) else {"message": str(first)})


def _unfinished(found: Execution) -> str:
    running = [node.key for node in found.nodes.values() if node.status == "RUNNING"]
    waiting = [f"{each.node} (barrier {each.id})" for each in found.barriers]
    parts = [f"The run {found.id} is {found.status} still"]
    if running:
        parts.append(f"running: {', '.join(running)}")
    if waiting:
        parts.append(f"waiting for a person: {', '.join(waiting)}")
    return "; ".join(parts) + "."
