"""The machine under control against its reference: any wishes, in any order, with any crashes."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dipeo_server.domains.execution.events import BarrierAction, Breakpoint, Budget
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.signals import (
    AbortRequested,
    BarrierDecided,
    BreakpointsSet,
    DecisionMade,
    DecisionRevoked,
    OutputGiven,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    SkipRequested,
    StepRequested,
)
from tests.reference.control_flow import dead, fired
from tests.reference.control_pair import Pair, Setting, moment, output
from tests.reference.control_run import Early, Visit

EXAMPLES, EXAMPLES_MANY = 200, 2_000
STEPS = 30
DIAGRAMS = (
    "s -> a -> b -> e",
    "s -> a -> e; s -> b -> e; s -> x -> e2",
    "s -> r -> a -> e; s -> b -> a; b -> e2",
    "s -> a -> +j -> e; s -> b -> +j; s -> k -> e2",
    "s -> a -> g; g.ok -> b -> e; g.no -> d -> e2",
    "s -> g; g.ok -> e; g.skip -> b; s -> g2; g2.ok -> e; x -> e2; s -> x",
    "s -> c; c.t -> x -> e; c.f -> o -> e2; s -> k -> e",
    "s -> h -> c; c.f -> h; c.t -> e",
    "s -> h -> g; g.no -> h; g.ok -> a -> e",
    "s -> h -> a -> c; h -> r -> c; c.f -> h; c.t -> e; s -> x -> e2",
    "s -> h -> c; h -> a -> d; a -> c; c.f -> h; c.t -> e; d -> e2; e -> e2",
    "s -> o -> a -> e; s -> k -> b -> e2; s -> d",
)
PICKS = st.integers(0, 9)
ACTIONS = st.sampled_from(list(BarrierAction))


class ControlMachine(RuleBasedStateMachine):
    """Somebody does something to a run, again and again."""

    pair: Pair
    gone: list[Visit]

    @initialize(
        text=st.sampled_from(DIAGRAMS),
        strategy=st.sampled_from(["FAIL_FAST", "COLLECT", "COLLECT_PARTIAL"]),
        default=st.sampled_from(["approve", "reject", "skip"]),
        limits=st.tuples(
            st.sampled_from([10_000, 10_000, 2, 4]), st.sampled_from([None, None, 20])
        ),
        is_paused=st.booleans(),
    )
    def begins(
        self,
        text: str,
        strategy: str,
        default: str,
        limits: tuple[int, int | None],
        is_paused: bool,
    ) -> None:
        steps, tokens = limits
        self.pair = Pair(Setting(text, strategy, default, steps, tokens, is_paused))
        self.gone = []

    # --- nodes and clocks -----------------------------------------------------------------------

    def running(self, pick: int) -> str:
        """One of the nodes that run; from then on its result is late."""
        names = sorted(self.pair.model.running)
        name = names[pick % len(names)]
        self.gone.append(self.pair.model.running[name])
        return name

    def has_running(self) -> bool:
        return bool(self.pair.model.running)

    @precondition(has_running)
    @rule(pick=PICKS, choice=st.booleans(), tokens=st.sampled_from([0, 0, 10]))
    def a_node_returns(self, pick: int, choice: bool, tokens: int) -> None:
        name = self.running(pick)
        if name[0] == "g":
            self.pair.asks(name)
            return
        port = ("condtrue" if choice else "condfalse") if name[0] == "c" else "default"
        self.pair.gives(
            name, output(port, tokens), lambda model: model.returns(name, fired(port), tokens)
        )

    @precondition(has_running)
    @rule(pick=PICKS)
    def another_node_returns(self, pick: int) -> None:
        self.a_node_returns(pick, choice=True, tokens=0)

    @precondition(has_running)
    @rule(
        pick=PICKS,
        how=st.sampled_from(["fail", "fail", "retry", "delay", "skip", "stop", "put off"]),
    )
    def a_node_ends_otherwise(self, pick: int, how: str) -> None:
        name = self.running(pick)
        match how:
            case "delay":
                self.pair.delays(name, 5)
            case "skip":
                self.pair.gives(
                    name, output(""), lambda model: model.returns(name, dead("skip_branch"))
                )
            case "stop":
                self.pair.stops(name)
            case "put off":
                self.pair.puts_off(name)
            case _:
                self.pair.raises(name, is_retryable=how == "retry")

    @precondition(lambda self: self.gone)
    @rule(pick=PICKS)
    def a_late_result_comes(self, pick: int) -> None:
        visit = self.gone[pick % len(self.gone)]
        if visit not in self.pair.model.running.values():
            self.pair.late(visit)

    @precondition(lambda self: self.pair.model.waiting)
    @rule(pick=PICKS)
    def a_timer_rings(self, pick: int) -> None:
        names = sorted(self.pair.model.waiting)
        self.pair.rings(names[pick % len(names)])

    @rule(seconds=st.sampled_from([1, 10, 40]))
    def time_passes(self, seconds: int) -> None:
        self.pair.model.now += seconds

    @rule()
    def the_process_dies(self) -> None:
        self.pair.crash()

    # --- people: the run ------------------------------------------------------------------------

    @rule(mode=st.sampled_from(PauseMode))
    def somebody_pauses(self, mode: PauseMode) -> None:
        is_now = mode is PauseMode.NOW
        self.pair.tell(PauseRequested(mode), lambda model: model.pause(is_now=is_now))

    @rule(
        steps=st.sampled_from([None, None, 3, 10_000]), tokens=st.sampled_from([None, 30, 10_000])
    )
    def somebody_resumes(self, steps: int | None, tokens: int | None) -> None:
        budget = None if tokens is None else Budget(max_tokens=tokens)
        self.pair.tell(ResumeRequested(steps, budget), lambda model: model.resume(steps, tokens))

    @rule()
    def somebody_steps(self) -> None:
        self.pair.tell(StepRequested(), lambda model: model.step())

    @rule(pick=PICKS)
    def somebody_steps_a_node(self, pick: int) -> None:
        name = self.name(pick)
        self.pair.tell(StepRequested(name), lambda model: model.step(name))

    @rule(pick=st.integers(0, 3))
    def somebody_aborts(self, pick: int) -> None:
        if pick == 0 or self.pair.model.is_over:
            self.pair.tell(AbortRequested(), lambda model: model.abort())

    @rule(picks=st.lists(st.tuples(PICKS, st.sampled_from(BreakpointWhen)), max_size=2))
    def somebody_sets_breakpoints(self, picks: list[tuple[int, BreakpointWhen]]) -> None:
        breaks = tuple(Breakpoint(self.name(pick), when) for pick, when in picks)
        wanted = tuple((each.node, each.when.value) for each in breaks)
        self.pair.tell(BreakpointsSet(breaks), lambda model: model.set_breaks(wanted))

    def name(self, pick: int) -> str:
        """A node, or now and then one that there is not."""
        names = self.pair.model.plan.names
        return "nobody" if pick == 9 else names[pick % len(names)]

    # --- people: decisions ----------------------------------------------------------------------

    @precondition(lambda self: self.pair.model.barriers)
    @rule(pick=PICKS, action=ACTIONS, is_again=st.booleans())
    def somebody_decides(self, pick: int, action: BarrierAction, is_again: bool) -> None:
        model = self.pair.model
        found = sorted(each for each, status in model.barriers.items() if status == "WAITING")
        visits = found if found and not is_again else sorted(model.barriers)
        visit = visits[pick % len(visits)]
        target = self.target(visit[0]) if action is BarrierAction.REROUTE else None
        decided = BarrierDecided(
            BarrierID(*visit), action, answer="yes", puts={"v": 1}, reroute=target
        )
        self.pair.tell(decided, lambda model: model.decide(visit, action.value, target))

    def target(self, name: str) -> str | None:
        """Where a barrier leads."""
        plan = self.pair.model.plan
        edges = plan.out_of(name) if name in plan.names else []
        return plan.edges[edges[-1]][2] if edges else None

    @rule(
        pick=PICKS,
        occurrence=st.sampled_from([None, None, 1, 2, 3]),
        action=ACTIONS,
        uses=st.sampled_from([None, None, 1, 2]),
        seconds=st.sampled_from([None, None, 0, 20]),
    )
    def somebody_decides_early(
        self,
        pick: int,
        occurrence: int | None,
        action: BarrierAction,
        uses: int | None,
        seconds: int | None,
    ) -> None:
        model = self.pair.model
        barriers = [name for name in model.plan.names if name[0] == "g"]
        name = barriers[pick % len(barriers)] if barriers and pick < 8 else self.name(pick)
        target = self.target(name) if action is BarrierAction.REROUTE else None
        expires = None if seconds is None else model.now + seconds
        early = Early(0, name, occurrence, action.value, uses, expires, target)
        signal = DecisionMade(
            name,
            occurrence,
            action,
            answer="yes",
            puts={"v": 1},
            reroute=target,
            expires_at=None if seconds is None else moment(model.now + seconds),
            max_uses=uses,
        )
        self.pair.tell(signal, lambda model: model.decide_early(early))

    @rule(number=st.integers(1, 4))
    def somebody_revokes(self, number: int) -> None:
        self.pair.tell(DecisionRevoked(f"d{number}"), lambda model: model.revoke(number))

    # --- people: nodes --------------------------------------------------------------------------

    @rule(pick=PICKS)
    def somebody_retries(self, pick: int) -> None:
        failed = sorted({name for name, _ in self.pair.model.failed})
        name = failed[pick % len(failed)] if failed and pick < 7 else self.name(pick)
        self.pair.tell(RetryRequested(name), lambda model: model.retry(name))

    @rule(pick=PICKS)
    def somebody_skips(self, pick: int) -> None:
        name = self.name(pick)
        self.pair.tell(SkipRequested(name), lambda model: model.skip(name))

    @rule(pick=PICKS, choice=st.booleans())
    def somebody_gives_an_output(self, pick: int, choice: bool) -> None:
        name = self.name(pick)
        port = ("condtrue" if choice else "condfalse") if name[0] == "c" else "default"
        value: Any = choice if name[0] == "c" else "given"
        self.pair.tell(OutputGiven(name, value), lambda model: model.give(name, port))

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def nothing_runs_behind_the_end(self) -> None:
        state = self.pair.state
        if state.status.is_terminal:
            assert not state.running
            assert not state.waiting
            assert not state.early_decisions
            assert self.pair.log[-1].is_terminal

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.replayed()


def hold(examples: int) -> None:
    """Try so many stories."""
    run_state_machine_as_test(
        ControlMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_run_under_control_does_what_the_reference_does() -> None:
    hold(EXAMPLES)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_two_thousand_runs_under_control_do_what_the_reference_does() -> None:
    hold(EXAMPLES_MANY)
