"""Rules 3 to 8 executed naively: after every completion, look at every node until nothing changes.

The run knows no counters, only tokens: which have arrived at a node, which a loop withholds. What
one completion sets off happens in rounds: all that can be decided from the tokens in place is
decided at once, then the tokens that follow are put, then comes the next round; only when no node
can be decided does a loop end its turn. (The rounds matter to ANY, FIRST and K_OF_N alone: what
arrives in one round arrives together.) Failures are those of the error strategy COLLECT.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.reference.guards import edges_dead_by_choice
from tests.reference.joins import FAILED, Doorstep, Reason, Skip, Token, Visit
from tests.reference.loops import Block, LoopForest
from tests.reference.outcome import NodeOutcome, Outcome, output_value
from tests.reference.sketch import Script, Sketch

Failures = frozenset[tuple[int, int]]
"""The (node, occurrence) that fail when they are executed."""


CHANGING = (
    *("arrived", "returning", "withheld", "running", "runs", "skipped"),
    *("decided", "turn", "busy", "ended", "no_progress"),
)
"""The attributes of an Interpreter that change while it runs."""


class TooManySteps(Exception):
    """The run took more completions than its step cap allows."""


@dataclass(frozen=True)
class NodeRun:
    """One occurrence of a node."""

    end: Literal["COMPLETED", "FAILED", "MAXITER_REACHED"]
    inputs: tuple[tuple[int, str], ...]
    output: str | None
    tokens: tuple[tuple[int, Token], ...]
    """What it put, in pairs with the edge."""


class Interpreter:
    """One run: complete one of the `running` nodes after the other, then read the `outcome`."""

    def __init__(
        self, sketch: Sketch, script: Script, failures: Failures = frozenset(), *, cap: int = 100
    ) -> None:
        self.sketch, self.script, self.failures = sketch, script, failures
        self.forest = LoopForest(sketch)
        self.guards = edges_dead_by_choice(self.forest)
        self.limits = [cap if limit is None else limit for limit in sketch.limits]

        self.arrived: dict[int, Token] = {}
        """Edge → its latest token, cleared when the target begins to await the next one."""
        self.returning: dict[int, Token] = {}
        """Back edge → the token its loop's turn brought, handed over if there is a next turn."""
        self.withheld: dict[int, tuple[Token, ...]] = {}
        """Exit → all that was put on it since the outermost loop it leaves was entered."""
        self.running: dict[int, tuple[tuple[int, str], ...]] = {}
        """Node that is being executed → its inputs."""
        self.decided: frozenset[int] = frozenset()
        """The nodes that ran, run or were skipped in this turn of the loop around them."""
        self.turn: dict[Block, int] = {}
        self.busy: frozenset[Block] = frozenset()
        """The blocks in whose turn some node was executed."""
        self.ended: frozenset[Block] = frozenset()
        self.runs: dict[int, tuple[NodeRun, ...]] = dict.fromkeys(range(len(sketch.kinds)), ())
        self.skipped: dict[int, Reason] = {}
        """Node → why it was skipped last."""
        self.no_progress = False

        self._begin_turn(self.forest.run, 1)
        self._settle()

    def complete(self, node: int) -> None:
        """End the NodeRun that is being executed, as the scripts say, and all that follows."""
        inputs = self.running.pop(node)
        occurrence = len(self.runs[node]) + 1
        self.busy |= {self.forest.run, *self.forest.loops_holding[node]}
        edges = self.sketch.edges_out_of(node)
        if (node, occurrence) in self.failures:
            tokens = dict.fromkeys(edges, FAILED)
            self._record(node, NodeRun("FAILED", inputs, None, tuple(tokens.items())))
        else:
            value = output_value(self.sketch.names[node], occurrence, dict(inputs))
            port = self._port(node, occurrence)
            tokens = {
                edge: Token("live", value) if self.sketch.edges[edge][1] == port else Token("dead")
                for edge in edges
            }
            self._record(node, NodeRun("COMPLETED", inputs, value, tuple(tokens.items())))
        self._settle()

    def _port(self, node: int, occurrence: int) -> str:
        if self.sketch.kinds[node] != "condition":
            return "default"
        answers = self.script[node]
        return "condtrue" if answers[min(occurrence, len(answers)) - 1] else "condfalse"

    # Rule 3: what a node awaits, and what becomes of it.

    def _awaited(self, node: int) -> tuple[int, ...]:
        """Give the forward edges, but none into a loop past its first turn; later back edges."""
        if self._goes_on(node):
            return tuple(sorted(self.forest.loops_holding[node][0].back))
        return tuple(
            edge
            for edge in self.forest.forward(node)
            if all(self.turn[loop] == 1 for loop in self.forest.loops_entered[edge])
        )

    def _goes_on(self, node: int) -> bool:
        """Say whether the node is the header of a loop past its first turn."""
        loops = self.forest.loops_holding[node][:1]
        return any(loop.header == node and self.turn[loop] > 1 for loop in loops)

    def _decide(self, node: int) -> Visit | Skip | None:
        if self.sketch.kinds[node] == "start":
            return Visit(())
        awaited = self._awaited(node)
        sticky = set(self.forest.forward(node)) - set(awaited)
        return Doorstep(
            join=self.sketch.joins[node],
            awaited=awaited,
            here={edge: self.arrived[edge] for edge in awaited if edge in self.arrived},
            sticky={edge: self.arrived[edge] for edge in sticky if edge in self.arrived},
            guards=self.guards,
            goes_on=self._goes_on(node),
        ).decide()

    # Rules 4 and 6: what a node puts on its edges.

    def _apply(self, node: int, decision: Visit | Skip) -> None:
        self.decided |= {node}
        if isinstance(decision, Skip):
            self.skipped[node] = decision.reason
            failed = decision.reason == "upstream_failed"
            token = FAILED if failed else Token("dead", reason=decision.reason)
            self._put(dict.fromkeys(self.sketch.edges_out_of(node), token))
        elif len(self.runs[node]) < self.limits[node]:
            self.running[node] = decision.inputs
        else:  # a failure is repeated as well: no older output stands in for it
            last = self.runs[node][-1]
            self._record(node, NodeRun("MAXITER_REACHED", (), last.output, last.tokens))

    def _record(self, node: int, run: NodeRun) -> None:
        self.runs[node] += (run,)
        self._put(dict(run.tokens))

    def _put(self, tokens: Mapping[int, Token]) -> None:
        """Put a node's tokens; those on exits wait for the end of the loops they leave."""
        for edge, token in tokens.items():
            if self.forest.loops_left[edge]:
                self.withheld[edge] = (*self.withheld.get(edge, ()), token)
            else:
                self._arrive(edge, token)

    def _arrive(self, edge: int, token: Token) -> None:
        place = self.returning if edge in self.forest.back else self.arrived
        place[edge] = token

    # Rule 5: turns.

    def _settle(self) -> None:
        while self._decide_nodes() or self._end_turn():
            pass

    def _decide_nodes(self) -> bool:
        """Play one round: decide all nodes that can be, then put what follows; False if none."""
        undecided = sorted(self.forest.reachable - self.decided)
        decisions = [(node, self._decide(node)) for node in undecided]
        for node, decision in decisions:
            if decision is not None:
                self._apply(node, decision)
        return any(decision is not None for _, decision in decisions)

    def _end_turn(self) -> bool:
        """End the turn of one block that is settled, an inner one first; False if none is."""
        for block in self.forest.run.walk():
            if block not in self.ended and self._is_settled(block):
                live = any(self.returning[edge].kind == "live" for edge in block.back)
                if live and block in self.busy:
                    self._begin_turn(block, self.turn[block] + 1)
                else:
                    self.no_progress |= live
                    self._end(block)
                return True
        return False

    def _is_settled(self, block: Block) -> bool:
        """Say whether each node in it ran or was skipped and has every awaited token."""
        return self.ended.issuperset(block.inner) and all(
            node in self.decided
            and node not in self.running
            and all(edge in self.arrived for edge in self._awaited(node))
            for node in block.own
        )

    def _begin_turn(self, block: Block, turn: int) -> None:
        """Start the block's turn: loops inside start afresh, awaited edges are empty again."""
        self.turn[block] = turn
        self.busy -= {block}
        for loop in block.inner:
            self.ended -= {loop}
            self._begin_turn(loop, 1)
        self.decided -= block.own
        for node in block.own:
            for edge in self._awaited(node):
                self.arrived.pop(edge, None)
        came_back = {edge: self.returning.pop(edge) for edge in block.back & self.returning.keys()}
        if turn > 1:
            self.arrived |= came_back

    def _end(self, block: Block) -> None:
        """Settle the block in the one around it: each exit brings its one token."""
        self.ended |= {block}
        for edge in self._exits(block):
            self._arrive(edge, latest(self.withheld.pop(edge)))

    def _exits(self, block: Block) -> list[int]:
        """Give the edges whose outermost loop left is this one."""
        return [edge for edge, left in self.forest.loops_left.items() if left[-1:] == [block]]

    # What came of it, and what may still come.

    def outcome(self) -> Outcome:
        """Say what became of the run; meant for when nothing is running any more."""
        return Outcome(
            nodes=tuple(self._node_outcome(node) for node in self.runs),
            ended="OK" if self.forest.run in self.ended else "HANG",
            no_progress=self.no_progress,
            failed=any(run.end == "FAILED" for runs in self.runs.values() for run in runs),
        )

    def _node_outcome(self, node: int) -> NodeOutcome:
        runs = self.runs[node]
        executed = [run for run in runs if run.end != "MAXITER_REACHED"]
        reason = None if runs else self.skipped.get(node)
        if node not in self.forest.reachable:
            reason = "unreachable"
        return NodeOutcome(
            status=runs[-1].end if runs else "SKIPPED" if reason else "PENDING",
            reason=reason,
            executed=len(executed),
            maxiter=len(runs) - len(executed),
            inputs=tuple(dict(run.inputs) for run in executed),
            outputs=tuple(run.output for run in executed),
        )

    def copy(self) -> Interpreter:
        """Give a second run that stands where this one stands."""
        twin = copy.copy(self)
        for name in CHANGING:
            setattr(twin, name, copy.copy(getattr(self, name)))
        return twin

    def key(self) -> tuple[object, ...]:
        """Give a value that is equal for two copies where the same has come and will come."""
        values = (getattr(self, name) for name in CHANGING)
        return tuple(frozenset(v.items()) if isinstance(v, dict) else v for v in values)


def latest(tokens: tuple[Token, ...]) -> Token:
    """Reduce what was put on an exit: the latest live token, else a failed one, else the last."""
    for kind in ("live", "failed"):
        for token in reversed(tokens):
            if token.kind == kind:
                return token
    return tokens[-1]


def run(
    sketch: Sketch,
    script: Script,
    order: Callable[[list[int]], int],
    failures: Failures = frozenset(),
    *,
    cap: int = 100,
    max_steps: int = 10_000,
) -> Outcome:
    """Run to the end; `order` picks the running node that completes next.

    `cap` limits nodes without a limit of their own. Raises TooManySteps after `max_steps`
    completions.
    """
    state = Interpreter(sketch, script, failures, cap=cap)
    for _ in range(max_steps):
        if not state.running:
            return state.outcome()
        state.complete(order(sorted(state.running)))
    raise TooManySteps(f"{max_steps} completions without an end: {sketch}")


def every_outcome(
    sketch: Sketch,
    script: Script,
    failures: Failures = frozenset(),
    *,
    cap: int = 100,
    max_states: int = 5_000,
) -> list[Outcome]:
    """Run in every completion order and give the distinct outcomes (one, if order is irrelevant).

    Raises TooManySteps if there are more than `max_states` different states.
    """
    outcomes: list[Outcome] = []
    pending = [Interpreter(sketch, script, failures, cap=cap)]
    seen = {pending[0].key()}
    while pending:
        state = pending.pop()
        if not state.running and (outcome := state.outcome()) not in outcomes:
            outcomes.append(outcome)
        for node in state.running:
            branch = state.copy()
            branch.complete(node)
            if branch.key() not in seen:
                seen.add(branch.key())
                pending.append(branch)
        if len(seen) > max_states:
            raise TooManySteps(f"more than {max_states} states: {sketch}")
    return outcomes
