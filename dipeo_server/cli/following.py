"""Following a run to its end, or to where only a person can make it go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.deciding import Decider
from dipeo_server.cli.events import events
from dipeo_server.cli.operations import ABORT
from dipeo_server.cli.progress import Nodes, Progress
from dipeo_server.cli.standing import SUB_DIAGRAM, Standing, survey
from dipeo_server.cli.telling import Event

SURVEY_SECONDS: Final = 0.5
"""How often sub-diagrams are looked at: their barriers are no events of their parent."""
_ENDS: Final = {"NodeCompleted", "NodeFailed", "NodeInterrupted", "NodeSkipped"}


class Follower:
    """Follows one execution; nothing of it is decided by time."""

    def __init__(
        self, client: GraphQLClient, execution_id: str, progress: Progress, decider: Decider
    ) -> None:
        self._client = client
        self._id = execution_id
        self._progress = progress
        self._decider = decider
        self._status = "PENDING"
        self._types: Mapping[str, str] = {}
        self._sub_diagrams: set[str] = set()
        self._woken = asyncio.Event()
        self._decisions: dict[str, asyncio.Task[bool]] = {}

    async def follow(self, nodes: Nodes) -> Standing | None:
        """None once it has ended; else how it stands, with nobody here to make it go on.

        Raises Unavailable, RequestRefused.
        """
        self._types = {node["key"]: node["type"] for node in nodes}
        reading = asyncio.create_task(self._read(), name="events")
        reading.add_done_callback(lambda _: self._woken.set())
        try:
            while not reading.done():
                await self._wait()
                if reading.done():
                    break
                standing = await self._look()
                if standing is not None:
                    return standing
            await reading
            return None
        finally:
            await _cancelled(reading, *self._decisions.values())

    async def abort(self, reason: str) -> None:
        """Ask the server to end the run; its end comes as an event."""
        await self._client.execute(ABORT, {"id": self._id, "reason": reason})

    async def _wait(self) -> None:
        seconds = SURVEY_SECONDS if self._sub_diagrams else None
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _look(self) -> Standing | None:
        """Decide what can be decided; gives the standing where nothing of that helps."""
        standing = await survey(self._client, self._id)
        for barrier in standing.barriers:
            if barrier.id not in self._decisions:
                task = asyncio.create_task(self._decider.decide(barrier), name=barrier.id)
                task.add_done_callback(lambda _: self._woken.set())
                self._decisions[barrier.id] = task
        waiting = {barrier.id for barrier in standing.barriers}
        for barrier_id, task in self._decisions.items():
            if barrier_id not in waiting:
                task.cancel()  # Somebody else has decided it, so nobody need be asked.
        await asyncio.sleep(0)
        left = [self._is_left(barrier_id) for barrier_id in waiting]
        return standing if standing.is_held and all(left) else None

    def _is_left(self, barrier_id: str) -> bool:
        task = self._decisions[barrier_id]
        return task.done() and not task.cancelled() and not task.result()

    async def _read(self) -> None:
        async with aclosing(events(self._client, self._id)) as stream:
            async for event in stream:
                self._take(event)

    def _take(self, event: Event) -> None:
        kind = event["__typename"]
        self._note(kind, event)
        self._progress.event(event)
        if kind == "BarrierWaiting" or self._status in {"WAITING", "PAUSED"}:
            self._woken.set()

    def _note(self, kind: str, event: Event) -> None:
        key = event.get("nodeKey") or ""
        if kind == "ExecutionStatusChanged":
            self._status = event["to"]
        elif kind == "NodeStarted" and self._types.get(key) == SUB_DIAGRAM:
            self._sub_diagrams.add(key)
            self._woken.set()
        elif kind in _ENDS:
            self._sub_diagrams.discard(key)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
