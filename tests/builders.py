"""Diagrams from one line of text, and stories told to a machine: the tests' shared vocabulary."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import AfterCrash, EdgeKind, ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.events import (
    BarrierAction,
    Breakpoint,
    ErrorStrategy,
    Failure,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID, NodeRun
from dipeo_server.domains.execution.interventions import PauseMode
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.output import (
    HandlerResult,
    TokenUsage,
    WaitForPerson,
    create_node_output,
)
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    BreakpointsSet,
    NodeRaised,
    NodeReturned,
    NodeStopped,
    PauseRequested,
    ResumeRequested,
    RunnerRestarted,
    Signal,
    StartRequested,
    StepRequested,
    TimerFired,
)
from dipeo_server.domains.execution.state import ExecutionState, NodeState
from dipeo_server.domains.execution.status import ExecutionStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

SPECS: Mapping[str, NodeSpec] = {
    "start": NodeSpec("start", NodeProps, Ports(inputs=()), is_pure=True),
    "work": NodeSpec("work", NodeProps, after_crash=AfterCrash.RERUN),
    "pure": NodeSpec("pure", NodeProps, is_pure=True, after_crash=AfterCrash.RERUN),
    "effect": NodeSpec("effect", NodeProps, after_crash=AfterCrash.ASK),
    "endpoint": NodeSpec("endpoint", NodeProps, after_crash=AfterCrash.RERUN),
    "condition": NodeSpec(
        "condition", NodeProps, Ports(outputs=("condtrue", "condfalse")), branches=True
    ),
    "barrier": NodeSpec(
        "barrier",
        NodeProps,
        Ports(outputs=("default", "approved", "rejected", "skipped")),
        after_crash=AfterCrash.RERUN,
        branches=True,
    ),
}
_TYPES = {
    "s": "start",
    "c": "condition",
    "e": "endpoint",
    "g": "barrier",
    "x": "effect",
    "q": "pure",
}
_PORTS = {"t": "condtrue", "f": "condfalse", "no": "rejected", "skip": "skipped", "ok": "approved"}


def diagram(
    text: str,
    *,
    props: Mapping[str, Mapping[str, Any]] | None = None,
    edges: Mapping[str, Mapping[str, Any]] | None = None,
    reducers: Mapping[str, str] | None = None,
) -> ExecutableDiagram:
    """`s -> a -> b; c.t -> e`: s* start, c* condition, e* endpoint, g* barrier, x* effect, q* pure.

    `props` by node, `edges` settings by "a>b" (kind, condition, label, priority).
    """
    names: list[str] = []
    links: list[tuple[str, str, str]] = []
    for chain in text.split(";"):
        stops = [stop.strip().partition(".") for stop in chain.split("->")]
        names.extend(name for name, _, _ in stops)
        for (source, _, port), (target, _, _) in itertools.pairwise(stops):
            links.append((source, _PORTS.get(port, port or "default"), target))
    keys = list(dict.fromkeys(names))
    nodes = tuple(
        DomainNode(key, key, _TYPES.get(key[0], "work"), key, dict((props or {}).get(key, {})))
        for key in keys
    )
    written = tuple(
        _edge(number, link, (edges or {}).get(f"{link[0]}>{link[2]}", {}))
        for number, link in enumerate(links)
    )
    metadata = {"reducers": dict(reducers)} if reducers else {}
    return assemble(DomainDiagram(nodes, written, metadata=metadata), SPECS)[0]


def _edge(number: int, link: tuple[str, str, str], settings: Mapping[str, Any]) -> DomainEdge:
    source, port, target = link
    return DomainEdge(
        f"arrow_{number}",
        source,
        target,
        port,
        label=settings.get("label"),
        kind=EdgeKind(settings.get("kind", "always")),
        condition=settings.get("condition"),
        priority=settings.get("priority", 0),
    )


class Story:
    """An execution told step by step: every method gives the names of the events it caused."""

    def __init__(
        self,
        text: str,
        *,
        variables: Mapping[str, Any] | None = None,
        max_steps: int | None = None,
        strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST,
        wish: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """`wish` holds further fields of the StartRequested, `options` what `diagram` takes."""
        self.now = NOON
        self.machine = ExecutionMachine()
        self.log: list[Recorded] = []
        self.begun = self.tell(
            StartRequested(
                ExecutionID("x"),
                diagram(text, **options),
                variables or {},
                max_steps=max_steps,
                error_strategy=strategy,
                **(wish or {}),
            )
        )

    @property
    def state(self) -> ExecutionState:
        """What the log folds to."""
        return self.machine.state

    def status(self) -> ExecutionStatus:
        """How the run stands (a call, since every step may change it)."""
        return self.state.status

    def tell(self, signal: Signal) -> list[str]:
        """Let the machine receive a signal; the names of what it recorded."""
        recorded = self.machine.receive(signal, now=self.now)
        self.log.extend(recorded)
        return names(recorded)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def run_of(self, key: str) -> NodeRun:
        """The NodeRun of a node that is running."""
        return self.state.running[self.state.diagram.index_of[key]]

    def node(self, key: str) -> NodeState:
        """How a node stands."""
        return self.state.node_state(key)

    def returns(
        self,
        key: str,
        value: Any = None,
        *,
        port: str = "default",
        puts: Mapping[str, Any] | None = None,
        usage: TokenUsage | None = None,
    ) -> list[str]:
        """The handler of a running node comes back with a value at a port."""
        output = create_node_output({port: value}, token_usage=usage)
        deltas = (StateDelta(puts),) if puts else ()
        return self.tell(NodeReturned(self.run_of(key), output, deltas))

    def gives(self, key: str, result: HandlerResult) -> list[str]:
        """The handler of a running node comes back with this result."""
        return self.tell(NodeReturned(self.run_of(key), result))

    def asks(self, key: str, kind: str = "approval", **wish: Any) -> list[str]:
        """A running node wants to wait for a person."""
        return self.gives(key, WaitForPerson(kind, f"{key}?", **wish))

    def decides(
        self,
        key: str,
        action: BarrierAction,
        occurrence: int = 1,
        attempt: int = 1,
        **decision: Any,
    ) -> list[str]:
        """Somebody decides a barrier."""
        barrier = BarrierID(key, occurrence, attempt)
        return self.tell(BarrierDecided(barrier, action, **decision))

    def raises(self, key: str, code: str = "CODE_ERROR", *, retryable: bool = False) -> list[str]:
        """The handler of a running node fails."""
        run = self.run_of(key)
        return self.tell(NodeRaised(run, Failure(code, f"{key} broke", key, retryable)))

    def stops(self, key: str) -> list[str]:
        """A cancelled handler has ended."""
        return self.tell(NodeStopped(self.run_of(key), "cancelled"))

    def fires(self, key: str) -> list[str]:
        """The deadline of a waiting node passes."""
        waiting = self.state.waiting[self.state.diagram.index_of[key]]
        assert waiting.due_at is not None
        self.now = max(self.now, waiting.due_at)
        return self.tell(TimerFired(waiting.node_run))

    def aborts(self) -> list[str]:
        """Somebody aborts the run."""
        return self.tell(AbortRequested("enough", "ann"))

    def pauses(self, mode: PauseMode = PauseMode.DRAIN, **wish: Any) -> list[str]:
        """Somebody pauses the run."""
        return self.tell(PauseRequested(mode, actor="ann", **wish))

    def resumes(self, max_steps: int | None = None, **wish: Any) -> list[str]:
        """Somebody resumes the run."""
        return self.tell(ResumeRequested(max_steps, **wish))

    def steps(self, node: str | None = None) -> list[str]:
        """Somebody lets one visit of a held run run."""
        return self.tell(StepRequested(node, actor="ann"))

    def breaks(self, *breakpoints: Breakpoint) -> list[str]:
        """Somebody sets the breakpoints of the run."""
        return self.tell(BreakpointsSet(breakpoints, actor="ann"))

    def running(self) -> list[str]:
        """Keys of the nodes that run."""
        return [run.node for run in self.state.running.values()]

    def restarts(self) -> list[str]:
        """The process died, and a new one folds the log and takes over."""
        self.machine = ExecutionMachine.replay(self.log)
        return self.tell(RunnerRestarted())

    def event(self, name: str) -> Any:
        """The newest event of that name."""
        return next(r.event for r in reversed(self.log) if type(r.event).__name__ == name)


def names(recorded: Sequence[Recorded]) -> list[str]:
    """The names of events, in order."""
    return [type(each.event).__name__ for each in recorded]
