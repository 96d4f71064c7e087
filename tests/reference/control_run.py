"""A run under control, as far as it goes by itself: visits, what holds it, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.reference.control_flow import FAILED, End, Flow, Plan, Turn, dead, fired

Kind = Literal["FINISHED", "STATE", "INPUT", "NOT_FOUND", "DECIDED"]
Visit = tuple[str, int, int]
"""(node, occurrence, attempt)"""
TERMINAL = frozenset({"COMPLETED", "FAILED", "ABORTED"})
DEFAULT = fired("default")
OUTCOMES = {
    "APPROVE": ("APPROVED", ("approved", "default")),
    "MODIFY": ("MODIFIED", ("approved", "default")),
    "REJECT": ("REJECTED", ("rejected",)),
    "SKIP": ("SKIPPED", ("skipped",)),
    "REROUTE": ("REROUTED", ()),
}
RETRY_SECONDS, ASK_SECONDS, LIMIT = 10, 30, 3
"""How long retries and barriers wait; how often a node runs at most."""


class Refused(Exception):
    """A wish that is not granted, and what kind of refusal that is."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Node:
    """How a node stands; `executed` counts visits whose handler was entered, `tries` failures."""

    status: str = "PENDING"
    occurrence: int = 0
    attempt: int = 0
    executed: int = 0
    tries: int = 0


@dataclass(frozen=True)
class Wait:
    """What a visit waits for: "approval", "rerun", "delay" or "retry"; `due` ends it."""

    visit: Visit
    kind: str
    due: int | None = None

    @property
    def is_person(self) -> bool:
        """Does it wait for somebody?"""
        return self.kind in {"approval", "rerun"}


@dataclass(frozen=True)
class Early:
    """A decision ahead of time; `occurrence` None = for every visit."""

    number: int
    node: str
    occurrence: int | None
    action: str
    uses: int | None
    expires: int | None
    reroute: str | None = None


@dataclass
class Run:
    """One run under control; times are whole seconds since its start.

    `limits` are of nodes with a limit of their own, `initial` the ports of results that nodes are
    given before they run; `frozen` is what was skipped before the graph was changed: it stays so.
    """

    plan: Plan
    strategy: str = "FAIL_FAST"
    default: str = "reject"
    max_steps: int = 10_000
    max_tokens: int | None = None
    now: int = 0
    status: str = "STARTED"
    cause: str | None = None
    ending: str | None = None
    stepping: Visit | None = None
    steps: int = 0
    used: int = 0
    made: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    running: dict[str, Visit] = field(default_factory=dict)
    waiting: dict[str, Wait] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    last: dict[str, End] = field(default_factory=dict)
    failed: list[tuple[str, int]] = field(default_factory=list)
    turn: Turn = field(default_factory=Turn)
    limits: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, End] = field(default_factory=dict)
    initial: dict[str, str] = field(default_factory=dict)
    barriers: dict[Visit, str] = field(default_factory=dict)
    book: dict[int, Early] = field(default_factory=dict)
    breaks: tuple[tuple[str, str], ...] = ()
    hits: set[tuple[str, int, str]] = field(default_factory=set)
    chosen: Sequence[str] = ()

    # --- what holds -------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Has it ended?"""
        return self.status in TERMINAL

    @property
    def is_paused(self) -> bool:
        """Is it held?"""
        return self.status == "PAUSED"

    @property
    def flow(self) -> Flow:
        """What follows from how visits have ended."""
        return Flow(self.plan, {**self.frozen, **self.ends}, self.turn)

    @property
    def ready(self) -> set[str]:
        """The nodes that may start."""
        return self.flow.fires - self.running.keys() - self.waiting.keys()

    def next_visit(self, name: str) -> Visit:
        """What a ready node would be: its next visit, or the next attempt of a stopped one."""
        node = self.nodes[name]
        if node.status == "PENDING" and node.occurrence:
            return name, node.occurrence, node.attempt + 1
        return name, node.occurrence + 1, 1

    def _is_at_limit(self, name: str) -> bool:
        return self.next_visit(name)[2] == 1 and self.nodes[name].executed >= self.limits.get(
            name, LIMIT
        )

    def _limit(self) -> str | None:
        if self.steps >= self.max_steps:
            return "max_steps"
        is_spent = self.max_tokens is not None and self.used >= self.max_tokens
        return "max_tokens" if is_spent else None

    # --- visits -----------------------------------------------------------------------------------

    def _begin(self, name: str, visit: Visit) -> None:
        if visit[2] == 1:
            self._count_visit(name)
            self.nodes[name].executed += 1
        self.steps += 1
        self.initial.pop(name, None)
        self.waiting.pop(name, None)
        self.running[name] = visit
        node = self.nodes[name]
        node.status, node.occurrence, node.attempt = "RUNNING", visit[1], visit[2]

    def _count_visit(self, name: str) -> None:
        self.nodes[name].tries = 0
        self.turn.has_executed |= name in self.plan.loop

    def _wait(self, wait: Wait) -> None:
        name = wait.visit[0]
        self.running.pop(name, None)
        self.waiting[name] = wait
        self.nodes[name].status = "WAITING"
        if wait.is_person:
            self.barriers[wait.visit] = "WAITING"

    def _end(self, name: str, end: End, status: str = "COMPLETED") -> None:
        self.running.pop(name, None)
        self.waiting.pop(name, None)
        self.ends[name] = self.last[name] = end
        self.nodes[name].status = status
        if status in {"COMPLETED", "FAILED"}:
            self._hit([name], "AFTER")

    def _fail(self, name: str, *, is_retryable: bool = False, is_own: bool = False) -> None:
        node = self.nodes[name]
        node.tries += 1
        if is_retryable and name[0] == "r" and node.tries < 2:
            visit = (name, node.occurrence, node.attempt + 1)
            self._wait(Wait(visit, "retry", self.now + RETRY_SECONDS))
        elif name[0] == "o" and is_own:
            self._end(name, DEFAULT, "FAILED")
        else:
            self.failed.append((name, node.occurrence))
            self._end(name, dead(FAILED), "FAILED")

    def _hit(self, names: Sequence[str], side: str) -> bool:
        """Do breakpoints hold the run at these nodes? Each does once for each visit."""
        found = False
        for name in names:
            occurrence = self.nodes[name].occurrence
            if side == "BEFORE":
                occurrence = self.next_visit(name)[1]
            if (name, side) in self.breaks and (name, occurrence, side) not in self.hits:
                self.hits.add((name, occurrence, side))
                found = True
        if found and not self.is_paused and not self.ending:
            self._hold("breakpoint")
        return found

    def _hold(self, cause: str) -> None:
        self.status, self.cause, self.stepping = "PAUSED", cause, None

    def _go(self, status: str, step: Visit | None = None) -> None:
        self.status, self.cause, self.stepping = status, None, step

    # --- decisions --------------------------------------------------------------------------------

    def _decide(self, visit: Visit, action: str, reroute: str | None = None) -> None:
        name = visit[0]
        self.barriers[visit], ports = OUTCOMES[action]
        has_edge = {self.plan.edges[edge][1] for edge in self.plan.out_of(name)} & set(ports)
        if action == "REROUTE":
            self._end(name, End(edge=self._leading(name, reroute)[0]))
        elif action == "REJECT" and not has_edge:
            self._fail(name)
        elif action == "SKIP" and not has_edge:
            self._end(name, dead("barrier_skipped"))
        else:
            self._end(name, fired(*ports))

    def _leading(self, name: str, target: str | None) -> list[int]:
        return [edge for edge in self.plan.out_of(name) if self.plan.edges[edge][2] == target]

    def _fresh(self) -> Iterator[Early]:
        for early in self.book.values():
            if early.expires is None or early.expires > self.now:
                yield early

    # --- what follows -----------------------------------------------------------------------------

    def _settle(self) -> None:
        rules = (
            *(self._step_over, self._fail_fast, self._end_when_stopped, self._use_book),
            *(self._take_turn, self._finish, self._tell_status, self._start),
        )
        while not self.is_over and any(rule() for rule in rules):
            pass

    def _step_over(self) -> bool:
        """The visit that was let run has ended, or waits: the run is held again."""
        if self.stepping is None or self.ending:
            return False
        name = self.stepping[0]
        is_due = name in self.ready and self.next_visit(name) == self.stepping
        if is_due or self.running.get(name) == self.stepping:
            return False
        self._hold("step")
        return True

    def _fail_fast(self) -> bool:
        is_held = self.is_paused or self.stepping is not None
        if self.strategy != "FAIL_FAST" or not self.failed or is_held or self.ending:
            return False
        self.ending = "fail_fast"
        return True

    def _end_when_stopped(self) -> bool:
        if not self.ending or self.running:
            return False
        for name, wait in self.waiting.items():
            self.nodes[name].status = "ABORTED"
            if wait.is_person:
                self.barriers[wait.visit] = "CANCELLED"
        self.waiting = {}
        self._close("ABORTED" if self.ending == "abort" else "FAILED")
        return True

    def _use_book(self) -> bool:
        """What has expired goes; then a decision that was made ahead of time is used."""
        if self.ending:
            return False
        self.book = {early.number: early for early in self._fresh()}
        for wait in self.waiting.values():
            early = self._best(wait.visit) if wait.kind == "approval" else None
            if early is not None and not self._fits(early):
                del self.book[early.number]
                return True
            if early is not None:
                self._use(early)
                self._decide(wait.visit, early.action, early.reroute)
                return True
        return False

    def _best(self, visit: Visit) -> Early | None:
        """An exact one, else the newest of those for every visit."""
        found = [e for e in self.book.values() if e.node == visit[0]]
        exact = [e for e in found if e.occurrence == visit[1]]
        general = [e for e in found if e.occurrence is None]
        return max(exact or general, key=lambda e: e.number, default=None)

    def _fits(self, early: Early) -> bool:
        """Does the way that it decides on still exist?"""
        return early.action != "REROUTE" or len(self._leading(early.node, early.reroute)) == 1

    def _use(self, early: Early) -> None:
        if early.uses == 1:
            del self.book[early.number]
        elif early.uses is not None:
            self.book[early.number] = replace(early, uses=early.uses - 1)

    def _take_turn(self) -> bool:
        """What is skipped is told; a loop that goes on begins its next turn."""
        if self.ending:
            return False
        flow = self.flow
        for name in flow.skips:
            if not self.nodes[name].occurrence:
                self.nodes[name].status = "SKIPPED"
        if not flow.goes_on:
            return False
        self.turn = flow.next_turn()
        self.ends = {key: end for key, end in self.ends.items() if key not in self.plan.loop}
        self.frozen = {key: end for key, end in self.frozen.items() if key not in self.plan.loop}
        return True

    def _finish(self) -> bool:
        if self.ending or not self.flow.is_settled:
            return False
        if self.failed and self.is_paused:
            return False
        is_bad = self.failed and self.strategy != "COLLECT_PARTIAL"
        self._close("FAILED" if is_bad else "COMPLETED")
        return True

    def _close(self, status: str) -> None:
        self._go(status)
        self.book = {}

    def _tell_status(self) -> bool:
        if self.is_paused or self.ending:
            return False
        is_busy = bool(self.running or self.ready)
        status = "RUNNING" if is_busy else "WAITING"
        if status == self.status or not (is_busy or self.waiting):
            return False
        self._go(status)
        return True

    def _start(self) -> bool:
        """Everything that is ready starts, unless a breakpoint or a limit holds it."""
        ready = self.ready
        if self.is_paused or self.ending or not ready:
            return False
        if self.stepping is not None:
            ready &= {self.stepping[0]}
        elif self._hit([name for name in ready if not self._is_at_limit(name)], "BEFORE"):
            return True
        again = {name for name in ready if self._is_at_limit(name)}
        for name in again:
            self._repeat(name)
        known = {name for name in ready - again if self._is_known(name)}
        for name in known:
            self._recall(name)
        hold = self._limit()
        places = 0 if hold else self.max_steps - self.steps
        order = sorted(ready - again - known, key=lambda name: (name not in self.chosen, name))
        for name in order[:places]:
            self._begin(name, self.next_visit(name))
        if order and hold and not again | known:
            self._hold(hold)
            return True
        return bool(again | known or order[:places])

    def _is_known(self, name: str) -> bool:
        """Was its result given before its first visit?"""
        return name in self.initial and self.next_visit(name)[1] == 1

    def _recall(self, name: str) -> None:
        """A visit ends with the result that was given before."""
        visit = self.next_visit(name)
        node = self.nodes[name]
        if visit[1] > node.occurrence:
            self._count_visit(name)
        _, node.occurrence, node.attempt = visit
        self._end(name, fired(self.initial.pop(name)))

    def _repeat(self, name: str) -> None:
        """A node at its limit puts out again what it put out last."""
        node = self.nodes[name]
        _, node.occurrence, node.attempt = self.next_visit(name)
        node.status = "MAXITER_REACHED"
        self.ends[name] = self.last[name]
