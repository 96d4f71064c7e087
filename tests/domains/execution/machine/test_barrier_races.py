"""Whatever people, deadlines and aborts do to barriers, in any order: what always holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from dipeo_server.domains.execution.events import (
    TERMINAL,
    BarrierAction,
    BarrierResolved,
    BarrierWaiting,
    EarlyDecisionChanged,
    Event,
    ExecutionStatusChanged,
    Recorded,
)
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.interventions import EarlyDecision
from dipeo_server.domains.execution.signals import TimerFired
from dipeo_server.domains.execution.status import BarrierStatus
from dipeo_server.errors import Rejected
from tests.domains.execution.machine.deciding import Book, assert_replays

DIAGRAM = "s -> g; g.no -> w -> g; g.ok -> e; s -> h; h.ok -> u -> e2; h.skip -> e2"
"""A loop until it is approved, and beside it an approval with a question behind it."""

Step: TypeAlias = tuple[str, dict[str, Any]]
"""A method of `Play`, with its arguments."""

_NODES = st.sampled_from(["g", "g", "g", "h", "u"])
_VISITS = st.integers(1, 3)
_ACTIONS = st.sampled_from(
    [BarrierAction.REJECT, BarrierAction.REJECT, BarrierAction.APPROVE, BarrierAction.SKIP]
)


def _step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


_GOES_ON = _step("goes_on", number=st.integers(0, 3), timeout=st.sampled_from([None, 40, 70]))
_STEPS: st.SearchStrategy[Step] = st.one_of(
    *[_GOES_ON] * 8,
    _step("decides", node=_NODES, visit=_VISITS, action=_ACTIONS),
    _step(
        "early",
        node=_NODES,
        visit=st.none() | _VISITS,
        action=_ACTIONS,
        expires_in=st.sampled_from([None, 60]),
    ),
    _step("early_for_some", node=_NODES, uses=st.integers(1, 2), action=_ACTIONS),
    _step("revokes", number=st.integers(1, 4)),
    _step("waits", seconds=st.sampled_from([1, 30, 80])),
    _step("steers", wish=st.sampled_from(["pauses", "resumes", "restarts"])),
    _step("aborts", likely=st.integers(0, 9)),
)


class Play:
    """A run to which things happen; what is refused changes nothing."""

    def __init__(self) -> None:
        self.story = Book(DIAGRAM)
        self._people = 0

    def take(self, step: Step) -> None:
        """Let one thing happen."""
        name, arguments = step
        before = len(self.story.log)
        self._people += 1
        try:
            getattr(self, name)(**arguments)
        except Rejected:
            assert len(self.story.log) == before
        assert_replays(self.story)

    @property
    def who(self) -> str:
        """Another person each time; also what they answer."""
        return f"p{self._people}"

    def decides(self, node: str, visit: int, action: BarrierAction) -> None:
        """Somebody decides a barrier, whether it waits or not."""
        asked = [each for each in self.story.state.barriers if each.node == node]
        attempt = max((each.attempt for each in asked if each.occurrence == visit), default=1)
        self.story.decides(node, action, visit, attempt, answer=self.who, actor=self.who)

    def early(
        self, node: str, visit: int | None, action: BarrierAction, expires_in: float | None
    ) -> None:
        """Somebody decides ahead of time, for a while or for good."""
        self.story.early(
            node,
            action,
            occurrence=visit,
            expires_in=expires_in,
            answer=self.who,
            actor=self.who,
        )

    def early_for_some(self, node: str, uses: int, action: BarrierAction) -> None:
        """Somebody decides some visits ahead of time."""
        self.story.early(node, action, max_uses=uses, answer=self.who, actor=self.who)

    def revokes(self, number: int) -> None:
        """Somebody takes a decision back."""
        self.story.revokes(f"d{number}", self.who)

    def steers(self, wish: str) -> None:
        """Somebody pauses or resumes the run, or the process dies."""
        getattr(self.story, wish)()

    def aborts(self, likely: int) -> None:
        """Now and then somebody has had enough."""
        if likely == 0:
            self.story.aborts()

    def waits(self, seconds: float) -> None:
        """Time passes, and with it deadlines; a timer may ring when its wait is over."""
        self.story.wait(seconds)
        for waiting in list(self.story.state.waiting.values()):
            if waiting.due_at is not None and waiting.due_at <= self.story.now:
                self.story.tell(TimerFired(waiting.node_run))

    def goes_on(self, number: int, timeout: float | None) -> None:
        """One of the nodes that run ends, asks, or has been stopped."""
        story = self.story
        running = [story.state.diagram.nodes[index].key for index in story.state.running]
        key = running[number % len(running)] if running else None
        match key:
            case None:
                pass
            case _ if story.state.ending is not None:
                story.stops(key)
            case "g" | "h":
                default = ("approve", "reject", "skip", None)[number]
                story.asks(key, timeout=timeout, default_action=default, variable=key)
            case "u":
                schema = {"pattern": "[02468]$"}
                story.asks(key, "answer", answer_schema=schema, timeout=timeout)
            case _:
                story.returns(key)


@dataclass
class Reader:
    """Reads a log as somebody would who knows the rules, and nothing else."""

    book: dict[str, EarlyDecision] = field(default_factory=dict)
    waiting: set[BarrierID] = field(default_factory=set)
    winners: dict[BarrierID, BarrierResolved] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    expected: EarlyDecision | None = None
    is_ending: bool = False
    has_ended: bool = False

    def read(self, log: Sequence[Recorded]) -> None:
        """Read all of it, and object."""
        for recorded in log:
            assert not self.has_ended
            self._read(recorded.event, recorded.at)

    def _read(self, event: Event, at: datetime) -> None:
        match event:
            case EarlyDecisionChanged():
                self._changed(event, at)
            case BarrierWaiting(node_run=run):
                assert run.barrier not in self.waiting | set(self.winners)
                self.waiting.add(run.barrier)
            case BarrierResolved():
                self._resolved(event)
            case ExecutionStatusChanged(ending=ending) if ending is not None:
                self.is_ending = True
            case _ if isinstance(event, TERMINAL):
                assert not self.book
                assert not self.waiting
                self.has_ended = True
            case _:
                pass

    def _changed(self, event: EarlyDecisionChanged, at: datetime) -> None:
        key = event.decision_id
        if event.change == "recorded":
            assert event.decision is not None
            assert not self.is_ending
            assert key == f"d{len(self.gone) + len(self.book) + 1}"
            self.book[key] = event.decision
            return
        decision = self.book[key]
        has_expired = decision.expires_at is not None and decision.expires_at <= at
        if event.change != "used":
            assert has_expired or event.change != "expired"
            del self.book[key]
            self.gone[key] += 1
            return
        assert not has_expired
        assert decision == self._first_choice(event.node, event.occurrence)
        self.expected = decision
        self.uses[key] += 1
        limit = decision.uses_left
        if limit is not None and self.uses[key] == limit:
            del self.book[key]
            self.gone[key] += 1

    def _first_choice(self, node: str, occurrence: int | None) -> EarlyDecision:
        """The one for the visit, else the newest for all."""
        fitting = [each for each in self.book.values() if each.node == node]
        exact = [each for each in fitting if each.occurrence == occurrence]
        return (exact or [each for each in fitting if each.occurrence is None])[-1]

    def _resolved(self, event: BarrierResolved) -> None:
        barrier = event.node_run.barrier
        self.waiting.remove(barrier)
        assert barrier not in self.winners
        self.winners[barrier] = event
        if self.is_ending:
            assert event.status is BarrierStatus.CANCELLED
        expected, self.expected = self.expected, None
        if expected is not None:
            assert event.decided_by == expected.created_by
            assert event.action == expected.action


@settings(max_examples=200, deadline=None)
@given(st.lists(_STEPS, min_size=20, max_size=40))
def test_every_barrier_has_one_winner_and_the_book_is_right(steps: list[Step]) -> None:
    """004-39 … 004-44, 004-W3, 004-W7"""
    play = Play()
    play.take(("goes_on", {"number": 0, "timeout": None}))
    for step in steps:
        play.take(step)
    state, reader = play.story.state, Reader()
    reader.read(play.story.log)
    for barrier, winner in reader.winners.items():
        record = state.barriers[barrier]
        assert (record.status, record.decided_by) == (winner.status, winner.decided_by)
    assert set(state.early_decisions) == set(reader.book)
    assert all(count == 1 for count in reader.gone.values())
    if not reader.is_ending:
        for barrier in reader.waiting:
            key = (barrier.node, barrier.occurrence)
            for decision in state.early_decisions.values():
                assert (decision.node, decision.occurrence) not in {key, (barrier.node, None)}
