"""Who is outside: clients that insist on an answer, people at barriers, readers, onlookers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from dipeo_server.domains.execution.events import (
    BarrierAction,
    BarrierWaiting,
    ExecutionStatusChanged,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.runner import Accepted, IdempotencyKey, StartExecution
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    PersonSignal,
    ResumeRequested,
)
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import NotFound, Rejected, StorageError, Unavailable
from dipeo_server.runtime.local import LocalRunner
from tests.simulation.faults import CrashPoint, Fate
from tests.simulation.meddling import Meddler
from tests.simulation.oracles import Witness
from tests.simulation.scenario import Meddling, Person, Reader, RunPlan, Scenario

T = TypeVar("T")

AGAIN_SECONDS = 0.3
_STATUS = {
    BarrierAction.APPROVE: "APPROVED",
    BarrierAction.REJECT: "REJECTED",
    BarrierAction.SKIP: "SKIPPED",
    BarrierAction.MODIFY: "MODIFIED",
}


Wish = Callable[[LocalRunner, IdempotencyKey], Awaitable[Accepted]]
"""What a client wants, with its key."""


class ConnectionLost(Exception):
    """The server died, or the client hung up, before there was an answer."""


class Server(Protocol):
    """The server as its clients reach it."""

    async def ask(
        self, what: Callable[[LocalRunner], Awaitable[T]], *, patience: float | None = None
    ) -> T:
        """Ask the process that serves; waits until there is one. Raises ConnectionLost."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What everybody outside shares."""

    server: Server
    witness: Witness
    fate: Fate
    chance: random.Random
    scenario: Scenario
    events: Callable[[AsyncGenerator[Recorded, None]], AsyncGenerator[Recorded, None]]
    travel: Callable[[Outside, RunClient, Meddling, str], Awaitable[None]]
    clients: list[RunClient] = field(default_factory=list)
    readers: dict[tuple[str, int], asyncio.Task[None]] = field(default_factory=dict)

    def send_readers(self, client: RunClient) -> None:
        """Let everybody follow a run who wants to."""
        for number in range(len(client.plan.readers)):
            task = asyncio.get_running_loop().create_task(follow(self, client, number))
            self.readers[client.plan.name, number] = task

    async def insist(self, mutation: str, about: str, what: Wish, name: str) -> Accepted | Rejected:
        """Ask with an idempotency key until there is an answer; now and then again, to be sure."""
        answer = await self._until_answered(mutation, about, what, name)
        if isinstance(answer, Accepted) and self.chance.random() < 0.3:
            await asyncio.sleep(self.chance.uniform(0, 2))
            again = await self._until_answered(mutation, about, what, name)
            if isinstance(again, Rejected):
                self.witness.accuse("the same key gets the same answer", f"{name}: {again}")
        return answer

    async def _until_answered(
        self, mutation: str, about: str, what: Wish, name: str
    ) -> Accepted | Rejected:
        key = IdempotencyKey("client", name, mutation, about)

        async def asking(runner: LocalRunner) -> Accepted:
            accepted = await what(runner, key)
            self.witness.answered(mutation, about, accepted, name)
            self.fate.passes_behind(CrashPoint.ANSWERED)
            return accepted

        while True:
            hurry = self.chance.random() < self.scenario.impatience
            patience = self.chance.uniform(0, 0.1) if hurry else None
            try:
                return await self.server.ask(asking, patience=patience)
            except (ConnectionLost, StorageError, Unavailable) as error:
                self.witness.tell(f"{name} will ask again: {type(error).__name__}")
                await asyncio.sleep(self.chance.uniform(0, AGAIN_SECONDS))
            except Rejected as refusal:
                self.witness.tell(f"{name} is refused: {refusal}")
                return refusal


class RunClient:
    """Starts one run, and does for it what people do; `journeys` are still to be made.

    What a fork shares with its origin, up to `since`, was heard already.
    """

    def __init__(self, outside: Outside, plan: RunPlan, since: Seq = Seq(0)) -> None:
        self._outside = outside
        self._since = since
        self.journeys = plan.journeys
        self.plan = plan
        self._handled: set[Seq] = set()
        self._context = copy_context()
        self.execution_id = ExecutionID("")
        self.is_accepted = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()
        self._meddler = Meddler(plan, outside.chance, self.signal, self._travel)

    async def start(self) -> None:
        """Start the run at its time, whatever it takes, and once more to be sure."""
        plan = self.plan
        await asyncio.sleep(plan.start_at)
        request = StartExecution(
            plan.diagram,
            {"name": plan.name},
            max_steps=plan.max_steps,
            error_strategy=plan.strategy,
            durability=self._outside.scenario.mode,
            checkpoints=plan.checkpoints,
        )
        answer = await self._outside.insist(
            "start", "", lambda runner, key: runner.start(request, key), f"start {plan.name}"
        )
        if isinstance(answer, Rejected):
            self._outside.witness.accuse("a start is accepted", f"{plan.name}: {answer}")
            return
        self.begins(answer.execution_id)

    def begins(self, execution_id: ExecutionID) -> None:
        """The run has been accepted."""
        self.execution_id = execution_id
        self.is_accepted.set()

    def errands(self) -> None:
        """Do for the run whatever people do from its start on."""
        for errand in (self.abort(), self.look(), self.meddle()):
            self.send(errand)

    async def _travel(self, meddling: Meddling, name: str) -> None:
        try:
            await self._outside.travel(self._outside, self, meddling, name)
        finally:
            self.journeys -= 1

    async def abort(self) -> None:
        """End the run at its time."""
        plan = self.plan
        if plan.abort_at is None:
            return
        await self.is_accepted.wait()
        await asyncio.sleep(plan.abort_at)
        await self.signal("abort", "", AbortRequested("enough", "ann"), f"abort {plan.name}")

    async def meddle(self) -> None:
        """Do to the run whatever else people do."""
        if self.plan.meddling:
            await self.is_accepted.wait()
            await self._meddler.meddle()

    async def look(self) -> None:
        """Look at the run now and then."""
        chance = self._outside.chance
        await self.is_accepted.wait()
        for _ in range(chance.randint(0, 6)):
            await asyncio.sleep(chance.uniform(0, 1.5))
            with suppress(ConnectionLost, StorageError, Unavailable):
                await self._outside.server.ask(self._look)

    async def _look(self, runner: LocalRunner) -> None:
        seen = await runner.view(self.execution_id)
        if seen is None:
            self._outside.witness.accuse("what is acknowledged is kept", f"{self.plan.name}: gone")
        else:
            self._outside.witness.shown(seen)

    def hears(self, recorded: Recorded) -> None:
        """A reader of this run got an event: somebody may have to do something about it."""
        if recorded.seq in self._handled or recorded.seq <= self._since:
            return
        self._handled.add(recorded.seq)
        match recorded.event:
            case BarrierWaiting() as asked:
                self.send(self._decide(asked, 0))
                if self.plan.person is Person.MOODY:
                    self.send(self._decide(asked, 1))
            case ExecutionStatusChanged(after=ExecutionStatus.PAUSED):
                is_meddled = bool(self.plan.meddling or self._since)
                meddler = self._meddler
                self.send(
                    meddler.let_go(recorded.seq) if is_meddled else self._resume(recorded.seq)
                )
            case _:
                pass

    def send(self, errand: Coroutine[Any, Any, None]) -> None:
        """Let somebody do something about this run."""
        # People outlive the process through which they heard of something.
        task = asyncio.get_running_loop().create_task(errand, context=self._context.copy())
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _decide(self, asked: BarrierWaiting, number: int) -> None:
        plan, chance = self.plan, self._outside.chance
        if plan.person is Person.ABSENT and chance.random() < 0.7:
            return
        await asyncio.sleep(chance.uniform(0, 1))
        run = asked.node_run
        action = BarrierAction.APPROVE
        if plan.person is Person.MOODY:
            action = chance.choice([BarrierAction.APPROVE, BarrierAction.REJECT])
        answer = asked.prompt if asked.purpose == "answer" else None
        decision = BarrierDecided(run.barrier, action, answer=answer, actor=f"person {number}")
        about = f"{run.node}#{run.occurrence} {run.attempt} {_STATUS[action]}"
        name = f"decide {plan.name} {about} by {number}"
        refusal = await self.signal("decide", about, decision, name)
        if refusal is not None and plan.is_comparable:
            self._outside.witness.accuse("a decision is accepted", f"{name}: {refusal}")

    async def _resume(self, seq: Seq) -> None:
        chance = self._outside.chance
        await asyncio.sleep(chance.uniform(0, 1))
        signal = ResumeRequested(max_steps=1_000)
        refusal = await self.signal("resume", "", signal, f"resume {self.plan.name} {seq}")
        if refusal is not None and self.plan.is_comparable:
            self._outside.witness.accuse("a resumption is accepted", f"{seq}: {refusal}")

    async def signal(
        self,
        mutation: str,
        about: str,
        signal: PersonSignal,
        name: str,
    ) -> Rejected | None:
        """Tell the run something, whatever it takes; how that was refused, if it was."""
        witness = self._outside.witness

        async def wish(runner: LocalRunner, key: IdempotencyKey) -> Accepted:
            if mutation in {"resume", "step"} and name not in witness.answers:
                witness.lets_go(self.execution_id)
            return await runner.signal(self.execution_id, signal, key)

        answer = await self._outside.insist(mutation, about, wish, name)
        # Who meant a node may find that somebody has taken it out.
        lost = () if mutation in {"revoke", "break", "early"} else ("NOT_FOUND",)
        if isinstance(answer, Rejected) and answer.code in ("IDEMPOTENCY_MISMATCH", *lost):
            self._outside.witness.accuse(
                "a repeated request is the same request", f"{name}: {answer}"
            )
        return answer if isinstance(answer, Rejected) else None


async def compare(outside: Outside, execution_id: ExecutionID) -> None:
    """Look at an execution once more through a process that has just begun."""

    async def look(runner: LocalRunner) -> None:
        durable = outside.witness.disk.logs[execution_id]
        name = outside.witness.name_of(execution_id)
        found = list(await runner.read_events(execution_id, after=Seq(0), limit=100_000))
        if found != durable:
            outside.witness.accuse("a new process finds the log", name)
        seen = await runner.view(execution_id)
        if seen is None or seen.last_seq < len(found):
            outside.witness.accuse("a new process finds every execution", name)
        else:
            outside.witness.shown(seen)

    await outside.server.ask(look)


async def follow(outside: Outside, client: RunClient, number: int) -> None:
    """Read a run from its first event to its last, over however many connections that takes."""
    plan = client.plan
    reader, name = plan.readers[number], f"{plan.name} reader {number}"
    await client.is_accepted.wait()
    await asyncio.sleep(reader.start_at)
    received = outside.witness.received[name]
    while not (received and received[-1].is_terminal):
        try:
            await outside.server.ask(lambda runner: _pump(outside, client, runner, name, reader))
        except (ConnectionLost, StorageError, Unavailable) as error:
            outside.witness.tell(f"{name} will come back: {type(error).__name__}")
            await asyncio.sleep(outside.chance.uniform(0, AGAIN_SECONDS))
        except NotFound as error:
            outside.witness.accuse("what is acknowledged is kept", f"{name}: {error}")
            return
        else:
            if not (received and received[-1].is_terminal):
                outside.witness.accuse(
                    "a subscriber misses nothing", f"{name}: ended at {len(received)}"
                )
                return


async def _pump(
    outside: Outside, client: RunClient, runner: LocalRunner, name: str, reader: Reader
) -> None:
    """One connection, in the server's process."""
    execution_id = client.execution_id
    after = Seq(len(outside.witness.received[name]))
    async with aclosing(outside.events(runner.events(execution_id, after=after))) as events:
        async for recorded in events:
            outside.witness.delivered(name, execution_id, recorded)
            client.hears(recorded)
            await outside.fate.passes(CrashPoint.PUBLISHED)
            if outside.chance.random() < reader.cuts:
                raise ConnectionLost
            if not outside.fate.is_over:
                await asyncio.sleep(outside.chance.uniform(0, reader.pause))
