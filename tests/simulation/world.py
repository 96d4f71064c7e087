"""A simulated world: a disk, server processes that live and die on it, and everybody outside."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from structlog.testing import capture_logs

from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import ExecutionSummary, StateStore
from dipeo_server.domains.execution.summary import summary_of
from dipeo_server.errors import DipeoError
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.llm import ModelServices
from dipeo_server.runtime.local import LocalRunner
from dipeo_server.runtime.perform import ConcurrencyLimits
from dipeo_server.runtime.runner_ports import RunnerPorts
from tests.simulation.clients import ConnectionLost, Outside, RunClient, compare
from tests.simulation.faults import CrashPoint, Disk, Fate, FaultyStore
from tests.simulation.loop import Halted, Process, RunAway, SimulatedLoop
from tests.simulation.nodes import Around, Deeds, load_child
from tests.simulation.oracles import Violation, Witness
from tests.simulation.scenario import Person, Scenario
from tests.simulation.time_oracles import restored
from tests.simulation.travelling import travel
from tests.simulation.verdicts import judge

T = TypeVar("T")

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECONDS_MAX = 900.0
QUIET_SECONDS = 90.0
CALL = "call"
SURPRISES = {"round_failed", "command_failed", "execution_stopped"}
UNSERVED = {"execution_cannot_be_recovered", "execution_stopped"}

Logged = MutableMapping[str, Any]


class SimulatedClock:
    """The port Clock, in virtual time; each process may have been given a wrong wall time."""

    def __init__(self, loop: SimulatedLoop, off_seconds: float) -> None:
        self._loop = loop
        self._off = timedelta(seconds=off_seconds)

    def now(self) -> datetime:
        """Aware, UTC."""
        return NOON + timedelta(seconds=self._loop.time()) + self._off

    async def sleep(self, seconds: float) -> None:
        """Wait, in virtual time."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Plants:
    """Where a test may plant a fault, at the seams of the runner."""

    store: Callable[[FaultyStore, Disk], StateStore] = lambda store, _: store
    handlers: Around | None = None
    events: Callable[[AsyncGenerator[Recorded, None]], AsyncGenerator[Recorded, None]] = (
        lambda events: events
    )
    limits: ConcurrencyLimits | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a simulation gave."""

    violations: tuple[Violation, ...]
    kills: Counter[CrashPoint]
    counts: Counter[str]
    trace: tuple[str, ...]


class World:
    """One simulation, with whatever a test has planted in it."""

    def __init__(self, scenario: Scenario, plants: Plants | None = None) -> None:
        self.scenario = scenario
        self._plants = plants or Plants()
        self._chance = random.Random(f"world {scenario.seed}")
        self.loop = SimulatedLoop(random.Random(f"loop {scenario.seed}"), scenario.order)
        self.fate = Fate(scenario.dooms)
        self.fate.kill = self._kill
        self.fate.do_behind = self.loop.behind_this
        self.loop.after_step = self._after_step
        self.disk = Disk(random.Random(f"disk {scenario.seed}"), scenario.habits)
        self.witness = Witness(self.disk, scenario.mode, scenario.limits, self.loop.time)
        self._deeds = Deeds({plan.name: plan for plan in scenario.runs}, self.fate, self.witness)
        self._process = Process(0)
        self._runner: LocalRunner | None = None
        self._died = asyncio.Event()
        self._serves = asyncio.Event()
        self._stopping = asyncio.Lock()
        self._replies: dict[asyncio.Future[Any], None] = {}
        self._logged: list[Logged] = []
        self._rows: dict[ExecutionID, ExecutionSummary | None] = {}

    # --- the server, for its clients ------------------------------------------------------------

    async def ask(
        self, what: Callable[[LocalRunner], Awaitable[T]], *, patience: float | None = None
    ) -> T:
        """Ask the process that serves. Raises ConnectionLost, and what the runner raises."""
        while not self._serves.is_set():  # It may have died before we hear that it serves.
            await self._serves.wait()
        assert self._runner is not None
        reply: asyncio.Future[T] = self.loop.create_future()
        self._replies[reply] = None
        call = self.loop.create_task(
            self._answer(self._runner, what, reply), name=CALL, context=self._process.context.copy()
        )
        try:
            await asyncio.wait([reply], timeout=patience)
            if reply.done():
                return reply.result()
            call.cancel()
            raise ConnectionLost
        finally:
            del self._replies[reply]

    async def _answer(
        self,
        runner: LocalRunner,
        what: Callable[[LocalRunner], Awaitable[T]],
        reply: asyncio.Future[T],
    ) -> None:
        try:
            reply.set_result(await what(runner))
        except (DipeoError, ConnectionLost) as error:
            reply.set_exception(error)
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is a finding.
            self.witness.accuse("calls end with an answer or a known error", repr(error))
            reply.set_exception(ConnectionLost())

    # --- the life of processes ------------------------------------------------------------------

    def _kill(self, point: CrashPoint | str) -> None:
        self.witness.tell(f"p{self._process.number} dies: {point}")
        self._process.is_alive = False
        self.loop.drop(self._process)
        self._serves.clear()
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(ConnectionLost())
        self._died.set()

    def _after_step(self, owner: Process | None) -> None:
        if owner is not None and owner.is_alive:
            self.fate.steps()

    async def _supervise(self) -> None:
        """Start a process whenever the last one has died."""
        jumps = self.scenario.clock_jumps
        for number in range(1, 100):
            self._died.clear()
            process = self._process = Process(number)
            self.loop.create_task(
                self._boot(jumps[number % len(jumps)]), name="boot", context=process.context.copy()
            )
            await self._died.wait()
            await asyncio.sleep(self._chance.uniform(0, 0.5))

    async def _boot(self, clock_is_off: float) -> None:
        """What a process does first."""
        self.witness.tell(f"p{self._process.number} begins")
        files = BaseDirFiles(Path())
        ports = RunnerPorts(
            SimulatedClock(self.loop, clock_is_off),
            files,
            ProcessCodeRunner(Path(), files),
            ModelServices(base_urls={}, keys={}),
            load_child,
        )
        store = FaultyStore(self.disk, self.fate)
        runner = LocalRunner(
            self._plants.store(store, self.disk),
            self._deeds.registry(self._plants.handlers),
            ports,
            self._plants.limits or self.scenario.limits,
            idle_seconds=self.scenario.idle_seconds,
        )
        store.is_recovering = True
        count = await runner.recover()
        store.is_recovering = False
        self.witness.tell(f"p{self._process.number} serves, {count} taken over")
        self._runner = runner
        self._serves.set()

    async def _restart(self, why: str) -> None:
        """Stop the process in good order; `_supervise` starts the next one."""
        async with self._stopping:
            await self._stop(why)

    async def _stop(self, why: str) -> None:
        while not self._serves.is_set():
            await self._serves.wait()
        process = self._process
        self.witness.tell(f"p{process.number} is asked to stop: {why}")
        self._note_surprises()
        try:
            await self.ask(lambda runner: runner.close())
        except ConnectionLost:
            return
        finally:
            # A disk in trouble may keep an execution from stopping well; that is no surprise.
            self._note_surprises(leaving_out="execution_stopped")
        await asyncio.sleep(0.05)
        if process.is_alive:
            self._inspect(process)
            self._kill("stopped")

    def _inspect(self, process: Process) -> None:
        """What has a process left behind that was stopped in good order?"""
        for task in self.loop.tasks:
            if task.owner is not process:
                continue
            # A page that nobody waits for any more may still be on its way from the disk.
            is_free = task.get_name() == CALL or "read" in task.describe()
            if not task.done() and not is_free:
                self.witness.accuse("close leaves nothing behind", task.describe())
            if task.is_unheard():
                what = f"{task.describe()}: {task.exception()!r}"
                self.witness.accuse("nothing breaks unheard", what)

    async def _stop_now_and_then(self) -> None:
        for seconds in self.scenario.stops:
            await asyncio.sleep(seconds)
            await self._restart("an operator wants it")

    # --- the story ------------------------------------------------------------------------------

    def run(self) -> Report:
        """Simulate, and judge."""
        with capture_logs() as self._logged:
            try:
                self._live()
                return Report(
                    tuple(self.witness.violations),
                    self.fate.kills,
                    self._counts(),
                    tuple(self.witness.trace),
                )
            finally:
                self.loop.bury()

    def _live(self) -> None:
        try:
            self.loop.run_until_complete(self._story())
        except (Halted, RunAway) as error:
            self.witness.accuse("the world goes on", str(error))
        self._look_back()

    async def _story(self) -> None:
        supervisor = self.loop.create_task(self._supervise(), name="supervisor")
        outside = Outside(
            self, self.witness, self.fate, self._chance, self.scenario, self._plants.events, travel
        )
        outside.clients.extend(RunClient(outside, plan) for plan in self.scenario.runs)
        for client in outside.clients:
            client.send(client.start())
            client.errands()
        for client in list(outside.clients):
            outside.send_readers(client)
        stopping = self.loop.create_task(self._stop_now_and_then())
        await self._until_settled(outside)
        async with self._stopping:  # Not half-way.
            stopping.cancel()
        self.fate.is_over = True
        self.disk.heal()
        readers = outside.readers.items()
        open_ends = [task for (name, _), task in readers if self._has_ended(name)]
        if open_ends:
            _, late = await asyncio.wait(open_ends, timeout=QUIET_SECONDS)
            for task in late:
                self.witness.accuse("a subscriber misses nothing", f"{task.get_name()} never ended")
        await self._restart("the end")
        for execution_id in list(self.disk.logs):
            await compare(outside, execution_id)
            await self._compare_states(execution_id)
        await self._restart("the very end")
        supervisor.cancel()
        self._rows = {each: await self.disk.store.summary(each) for each in self.disk.logs}

    async def _compare_states(self, execution_id: ExecutionID) -> None:
        """Put states together from checkpoints, with pages so small that those are used."""
        log = self.disk.logs[execution_id]
        chance = random.Random(f"states {self.disk.names[execution_id]}")
        places = [None, *(Seq(chance.randint(1, len(log))) for _ in range(2))]
        page = chance.randint(2, 6)
        for what in await restored(self.disk.store, execution_id, log, places, page):
            name = self.witness.name_of(execution_id)
            self.witness.accuse("what is restored is what is replayed", f"{name} {what}")

    async def _until_settled(self, outside: Outside) -> None:
        """Until every run has ended, or waits for somebody who will not come."""
        since, before = 0.0, -1
        while self.loop.time() < SECONDS_MAX:
            await asyncio.sleep(1.0)
            await self._restart_if_unserved()
            is_under_way = any(client.journeys for client in outside.clients)
            if not is_under_way and all(self._has_ended(plan.name) for plan in self.scenario.runs):
                return
            events = sum(len(log) for log in self.disk.logs.values())
            since, before = (since if events == before else self.loop.time()), events
            may_stay = all(
                self._has_ended(plan.name) or plan.person is Person.ABSENT
                for plan in self.scenario.runs
            )
            if may_stay and not is_under_way and self.loop.time() - since > QUIET_SECONDS:
                return
        self.witness.accuse("every run ends or waits", f"not after {SECONDS_MAX} s")

    def _has_ended(self, name: str) -> bool:
        """Has the run of that name ended, and every child and fork of it?"""
        names = self.disk.names.items()
        below = (f"{name}/", f"{name}~")
        ids = [id_ for id_, known in names if known == name or known.startswith(below)]
        return bool(ids) and all(self.disk.logs[each][-1].is_terminal for each in ids)

    async def _restart_if_unserved(self) -> None:
        """What an operator does who reads the server's log."""
        is_unserved = any(each["event"] in UNSERVED for each in self._logged)
        if is_unserved and not self._stopping.locked():
            self._note_surprises()
            await self._restart("something is not served")

    # --- looking back ---------------------------------------------------------------------------

    def _look_back(self) -> None:
        self._note_surprises()
        for problem in self.loop.problems:
            self.witness.accuse("nothing breaks unheard", problem)
        for task in self.loop.tasks:
            if task.owner is None and task.is_unheard():
                what = f"{task.describe()}: {task.exception()!r}"
                self.witness.accuse("nothing breaks unheard", what)
        for execution_id, row in self._rows.items():
            state = ExecutionMachine.replay(self.disk.logs[execution_id]).state
            if row is None or row != summary_of(state):
                self.witness.accuse("the list agrees with the logs", str(row))
        for violation in judge(self.scenario, self.witness):
            self.witness.accuse(violation.oracle, violation.what)

    def _note_surprises(self, leaving_out: str = "") -> None:
        for each in self._logged:
            if each["event"] in SURPRISES - {leaving_out}:
                error = each.get("exc_info") or each.get("error")
                self.witness.accuse(
                    "no surprises in the server's log", f"{each['event']}: {error!r}"
                )
        self._logged.clear()

    def _counts(self) -> Counter[str]:
        found = Counter(self.witness.counts)
        found["events"] = sum(len(log) for log in self.disk.logs.values())
        found["runs"] = len(self.disk.logs)
        found["kills"] = self.fate.kills.total()
        found["steps"] = self.loop.steps
        found["failed appends"] = self.disk.appends_failed
        found["failed reads"] = self.disk.reads_failed
        return found


def simulate(scenario: Scenario, plants: Plants | None = None) -> Report:
    """Run one simulation from its beginning to its verdict."""
    return World(scenario, plants).run()
