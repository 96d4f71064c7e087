"""The machine and its reference side by side: told the same, they must be found the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dipeo_server.domains.execution.checkpoint import CheckpointPolicy, TakenCheckpoint
from dipeo_server.domains.execution.commands import RunNode, SetTimer
from dipeo_server.domains.execution.events import (
    Budget,
    ErrorStrategy,
    Failure,
    NodeMaxIterationsReached,
    NodeOutputSet,
    NodeStarted,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.machine.outstanding import outstanding
from dipeo_server.domains.execution.output import (
    SKIP_BRANCH,
    HandlerResult,
    TokenUsage,
    WaitForPerson,
    WaitUntil,
    create_node_output,
)
from dipeo_server.domains.execution.signals import (
    NodePutOff,
    NodeRaised,
    NodeReturned,
    NodeStopped,
    RunnerRestarted,
    Signal,
    StartRequested,
    TimerFired,
)
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import (
    AlreadyDecided,
    ExecutionFinished,
    InvalidInput,
    InvalidState,
    NotFound,
    Rejected,
)
from tests.builders import NOON, diagram
from tests.reference.control_flow import Plan
from tests.reference.control_run import ASK_SECONDS, LIMIT, RETRY_SECONDS, Refused, Visit
from tests.reference.control_time import Timed

_KINDS: tuple[tuple[type[Rejected], str], ...] = (
    (ExecutionFinished, "FINISHED"),
    (AlreadyDecided, "DECIDED"),
    (InvalidInput, "INPUT"),
    (NotFound, "NOT_FOUND"),
    (InvalidState, "STATE"),
)
_AFTER_CRASH = {"x": "ask", "k": "fail"}


def props_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """What the initials of names mean, in the words of a diagram."""
    found: dict[str, dict[str, Any]] = {}
    for name in plan.names:
        mine: dict[str, Any] = {
            "after_crash": _AFTER_CRASH.get(name[0], "rerun"),
            "max_iteration": LIMIT,
        }
        if name in plan.any_joins:
            mine["join"] = "any"
        if name[0] == "r":
            retry = {"attempts": 2, "backoff": "constant", "initial_seconds": RETRY_SECONDS}
            mine["retry"] = retry
        if name[0] == "o":
            mine["on_error"] = {"policy": "continue"}
        found[name] = mine
    return found


@dataclass(frozen=True)
class Setting:
    """How a run begins."""

    text: str
    strategy: str = "FAIL_FAST"
    default: str = "reject"
    max_steps: int = 10_000
    max_tokens: int | None = None
    is_paused: bool = False
    checkpoints: CheckpointPolicy = ()


@dataclass(frozen=True)
class Past:
    """How a run stood behind an event, as the reference has it."""

    at: Seq
    model: Timed


class Pair:
    """One run, twice."""

    def __init__(self, setting: Setting) -> None:
        plan = Plan.parse(setting.text)
        self.setting = setting
        self.model = Timed(
            plan, setting.strategy, setting.default, setting.max_steps, setting.max_tokens
        )
        self.machine = ExecutionMachine()
        self.log: list[Recorded] = []
        self.past: list[Past] = []
        self.kept: list[TakenCheckpoint] = []
        start = StartRequested(
            ExecutionID("x"),
            diagram(setting.text.replace("+", ""), props=props_of(plan)),
            max_steps=setting.max_steps,
            error_strategy=ErrorStrategy(setting.strategy),
            budget=Budget(max_tokens=setting.max_tokens),
            is_paused=setting.is_paused,
            checkpoints=setting.checkpoints,
        )
        self.tell(start, lambda model: model.start(is_paused=setting.is_paused))

    @property
    def state(self) -> ExecutionState:
        """The machine's state."""
        return self.machine.state

    def tell(self, signal: Signal, expect: Callable[[Timed], None], *more: Signal) -> str | None:
        """Tell both; gives how both refused it, if they did. Raises AssertionError."""
        refusal, refused, kind = None, None, type(signal).__name__
        before = len(self.log)
        try:
            now = moment(self.model.now)
            self.log.extend(self.machine.receive_all((signal, *more), now=now))
        except Rejected as error:
            refusal = next(name for type_, name in _KINDS if isinstance(error, type_))
        self.model.chosen = [
            recorded.event.node_run.node
            for recorded in self.log[before:]
            if isinstance(recorded.event, NodeStarted | NodeOutputSet | NodeMaxIterationsReached)
        ]
        try:
            expect(self.model)
        except Refused as error:
            refused = error.kind
        assert refusal == refused, f"{kind}: refused as {refusal}, should be {refused}"
        self.compare(signal)
        self.kept += self.machine.taken()
        if len(self.log) > before:
            self.past.append(Past(Seq(len(self.log)), copy.deepcopy(self.model)))
        return refusal

    def compare(self, signal: Signal) -> None:
        """Hold everything that shows against the reference. Raises AssertionError."""
        expected, found = expectations(self.model), findings(self.state)
        what = type(signal).__name__
        for name, wanted in expected.items():
            assert found[name] == wanted, f"{what}: {name}: {found[name]}, should be {wanted}"

    def replayed(self) -> ExecutionMachine:
        """The machine behind the log, which is the one that is live. Raises AssertionError."""
        again = ExecutionMachine.replay(self.log)
        again.take_changes()
        self.machine.take_changes()
        assert again.state == self.state
        assert again.outstanding() == self.machine.outstanding()
        return again

    # --- what nodes and clocks tell -------------------------------------------------------------

    def crash(self) -> None:
        """The process dies: what is left is the log."""
        self.machine = self.replayed()
        self.tell(RunnerRestarted(), lambda model: model.crash())

    def gives(
        self, name: str, result: HandlerResult, expect: Callable[[Timed], None]
    ) -> str | None:
        """The handler of a running node comes back."""
        return self.tell(NodeReturned(self._run(name), result), expect)

    def asks(self, name: str) -> None:
        """A running barrier asks somebody."""
        default = self.setting.default
        wish = WaitForPerson("approval", "well?", timeout=ASK_SECONDS, default_action=default)
        self.gives(name, wish, lambda model: model.waits(name, "approval", ASK_SECONDS))

    def delays(self, name: str, seconds: int) -> None:
        """A running node completes later."""
        wish = WaitUntil(seconds, create_node_output({"default": name}))
        self.gives(name, wish, lambda model: model.waits(name, "delay", seconds))

    def raises(self, name: str, *, is_retryable: bool) -> None:
        """The handler of a running node fails."""
        failure = Failure("CODE_ERROR", f"{name} broke", name, is_retryable)
        signal = NodeRaised(self._run(name), failure)
        self.tell(signal, lambda model: model.raises(name, is_retryable=is_retryable))

    def stops(self, name: str) -> None:
        """A cancelled handler has ended."""
        self.tell(NodeStopped(self._run(name), "cancelled"), lambda model: model.stops(name))

    def puts_off(self, name: str) -> None:
        """The handler of a node was not entered."""
        self.tell(NodePutOff(self._run(name)), lambda model: model.puts_off(name))

    def rings(self, name: str) -> None:
        """A timer rings for whatever a node waits for."""
        run = NodeRun(*self.model.waiting[name].visit)
        self.tell(TimerFired(run), lambda model: model.rings(name))

    def late(self, visit: Visit) -> None:
        """A handler comes back that nobody waits for: nothing changes."""
        signal = NodeReturned(NodeRun(*visit), create_node_output({"default": "late"}))
        before = len(self.log)
        self.tell(signal, lambda _: None)
        assert len(self.log) == before

    def _run(self, name: str) -> NodeRun:
        return NodeRun(*self.model.running[name])


def output(port: str, tokens: int = 0) -> HandlerResult:
    """A result at a port, which used so many tokens; no port: the branch is skipped."""
    if not port:
        return SKIP_BRANCH
    usage = TokenUsage(tokens) if tokens else None
    return create_node_output({port: port}, token_usage=usage)


def expectations(model: Timed) -> dict[str, object]:
    """Everything that shows of a run, as the reference has it."""
    is_live = not (model.is_over or model.ending)
    return {
        "status": model.status,
        "cause": model.cause if model.is_paused else None,
        "ending": None if model.is_over else model.ending,
        "stepping": model.stepping,
        "steps": model.steps,
        "revision": model.revision,
        "nodes": {k: (n.status, n.occurrence, n.attempt) for k, n in model.nodes.items()},
        "running": dict(model.running),
        "waiting": {key: (wait.visit, wait.due) for key, wait in model.waiting.items()},
        "ready": model.ready if is_live else set(),
        "failed": sorted(name for name, _ in model.failed),
        "barriers": dict(model.barriers),
        "book": {f"d{number}": early.uses for number, early in model.book.items()},
        "hits": set(model.hits),
        "in flight": sorted(model.running) if is_live else [],
        "timers": sorted(_timers(model)) if is_live else [],
    }


def _timers(model: Timed) -> list[str]:
    due = (key for key, wait in model.waiting.items() if wait.due is not None)
    return [key for key in due if not (model.is_paused and model.waiting[key].kind == "retry")]


def findings(state: ExecutionState) -> dict[str, object]:
    """The same, as the machine has it."""
    keys = [node.key for node in state.diagram.nodes]
    is_live = not (state.status.is_terminal or state.ending)
    commands = outstanding(state).values()
    return {
        "status": state.status.value,
        "cause": state.pause_cause.value if state.pause_cause and state.is_paused else None,
        "ending": state.ending.cause if state.ending and state.status.is_active else None,
        "stepping": _visit(state.stepping) if state.stepping and state.status.is_active else None,
        "steps": state.steps,
        "revision": state.revision,
        "nodes": {
            key: (node.status.value, node.occurrence, node.attempt)
            for key, node in zip(keys, state.nodes, strict=True)
        },
        "running": {keys[index]: _visit(run) for index, run in state.running.items()},
        "waiting": {
            keys[index]: (_visit(wait.node_run), _seconds(wait.due_at))
            for index, wait in state.waiting.items()
        },
        "ready": {keys[index] for index in state.ready} if is_live else set(),
        "failed": sorted(str(failure.node) for failure in state.failures),
        "barriers": {_visit(key): each.status.value for key, each in state.barriers.items()},
        "book": {key: each.uses_left for key, each in state.early_decisions.items()},
        "hits": {(keys[index], occurrence, when.value) for index, occurrence, when in state.hits},
        "in flight": sorted(each.node_run.node for each in commands if isinstance(each, RunNode)),
        "timers": sorted(each.node_run.node for each in commands if isinstance(each, SetTimer)),
    }


def _visit(run: NodeRun | BarrierID) -> Visit:
    return run.node, run.occurrence, run.attempt


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else round((moment - NOON).total_seconds())


def moment(seconds: int) -> datetime:
    """So many seconds behind the start."""
    return NOON + timedelta(seconds=seconds)
