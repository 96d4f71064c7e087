"""Every script of a diagram, and every completion order where that is asked for.

A run is forked where a condition is asked, so what a script would answer to a question that
nobody asks makes no difference. Where two paths come to the same state on both sides, they are
one from there on: `standing` tells the states apart. It calls values by their NodeRun: within one
run that is one to one, and neither side looks into a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.tokens import Token as MachineToken
from tests.reference.interpreter import Interpreter, NodeRun, latest
from tests.reference.joins import Token
from tests.reference.lockstep import (
    ANSWERS,
    RULES,
    Disagreement,
    Lockstep,
    Rules,
    replayed,
    unique_ends,
)
from tests.reference.sketch import Script, Sketch

Order = Callable[[list[int]], int]
"""Picks the running node that completes next."""


@contextmanager
def blamed_on(run: Lockstep) -> Iterator[None]:
    """Whatever goes wrong inside is a Disagreement that names the diagram and the script."""
    try:
        yield
    except Disagreement as error:
        raise Disagreement(f"{run}: {error}") from error
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise Disagreement(f"{run}: {error!r}") from error


@dataclass
class Explored:
    """What was seen of one diagram. `scripts` counts what `runs` stand for: each script once."""

    scripts: int = 0
    runs: int = 0
    steps: int = 0
    has_choice: bool = False
    """Was there ever more than one running node to complete?"""
    ends: list[Lockstep] = field(default_factory=list)


class Explorer:
    """One walk through the scripts of a sketch. Raises Disagreement, with the script so far."""

    def __init__(
        self, sketch: Sketch, order: Order | None, rules: Rules = RULES, *, merges: bool = True
    ) -> None:
        """Without an `order` every order is walked; without `merges` every path to its end."""
        self.order, self.merges = order, merges
        self.explored = Explored()
        self.known: dict[Hashable, int] = {}
        self.root = Lockstep(sketch, rules)

    def walk(self) -> Explored:
        """Walk to every end."""
        self.explored.scripts = self._below(self.root)
        return self.explored

    def _below(self, run: Lockstep) -> int:
        """How many scripts (and orders) lead on from here."""
        nodes = self._next_fork(run)
        if nodes:
            return self._forks(run, nodes)
        self.explored.runs += 1
        self.explored.ends.append(run)
        return 1

    def _next_fork(self, run: Lockstep) -> list[int]:
        """Run on to where there is something to choose; nothing at the end of the run."""
        with blamed_on(run):
            while running := run.running:
                self.explored.has_choice |= len(running) > 1
                nodes = running if self.order is None else [self.order(running)]
                if len(nodes) > 1 or run.is_asked(nodes[0]):
                    return nodes
                self._complete(run, nodes[0], None)
            run.end()
        return []

    def _forks(self, run: Lockstep, nodes: list[int]) -> int:
        key = standing(run) if self.merges else object()
        if key in self.known:
            with blamed_on(run):
                unique_ends(run.machine.log)
            return self.known[key]
        found = 0
        for node in nodes:
            for answer in (True, False) if run.is_asked(node) else (None,):
                twin = run.fork()
                with blamed_on(twin):
                    self._complete(twin, node, answer)
                found += self._below(twin)
        self.known[key] = found
        return found

    def _complete(self, run: Lockstep, node: int, answer: bool | None) -> None:
        self.explored.steps += 1
        run.complete(node, answer)


def rerun(end: Lockstep, order: Order) -> Lockstep:
    """The script of a run that has ended once more, in another completion order."""
    run = Lockstep(end.sketch, end.machine.rules)
    with blamed_on(end):
        _follow(run, end, order)
    return run


def _follow(run: Lockstep, end: Lockstep, order: Order) -> None:
    script: dict[int, list[bool]] = {node: list(answers) for node, answers in end.answers.items()}
    while running := run.running:
        node = order(running)
        asked = run.is_asked(node) and script.get(node)
        run.complete(node, script[node].pop(0) if asked else None)
    run.end()


def judge(sketch: Sketch, rules: Rules = RULES, *, replays: bool = False) -> list[Explored]:
    """Compare through all scripts in two completion orders, if there is more than one.

    Where all nodes join ALL the order must change nothing. Raises Disagreement.
    """
    found = [Explorer(sketch, min, rules).walk()]
    if replays:
        for end in found[0].ends[:1]:
            with blamed_on(end):
                replayed(end)
    if not found[0].has_choice:
        return found
    if any(join != "ALL" for join in sketch.joins):
        return [*found, Explorer(sketch, max, rules).walk()]
    for end in found[0].ends:
        other = rerun(end, max)
        if other.reference.outcome() != end.reference.outcome():
            raise Disagreement(f"{end}: what completes first makes a difference")
    ends = found[0].ends
    return [*found, Explored(found[0].scripts, len(ends), found[0].steps, has_choice=True)]


# --- telling states apart ----------------------------------------------------------------------


def standing(run: Lockstep) -> Hashable:
    """A value that is equal for two forks of a run if the same will come on both sides."""
    return (_answered(run.answers), _reference(run.reference), _machine(run.state))


def _answered(answers: Script) -> Hashable:
    """What was asked; only the last answer is given again, and only when all are used up."""
    return tuple(
        (node, len(given), given[-1] if len(given) >= ANSWERS else None)
        for node, given in sorted(answers.items())
    )


def _reference(state: Interpreter) -> Hashable:
    runs = tuple(
        (len(runs), sum(run.end == "MAXITER_REACHED" for run in runs), *map(_last, runs[-1:]))
        for runs in state.runs.values()
    )
    return (
        *(_tokens(tokens) for tokens in (state.arrived, state.returning)),
        _tokens({edge: latest(tokens) for edge, tokens in state.withheld.items()}),
        tuple(
            (node, tuple((edge, _named(value)) for edge, value in inputs))
            for node, inputs in sorted(state.running.items())
        ),
        *(state.decided, state.busy, state.ended, state.no_progress),
        frozenset(state.turn.items()),
        runs,
        frozenset(state.skipped.items()),
    )


def _last(run: NodeRun) -> Hashable:
    return run.end, _tokens(dict(run.tokens))


def _tokens(tokens: dict[int, Token]) -> Hashable:
    return tuple((e, t.kind, _named(t.value), t.reason) for e, t in sorted(tokens.items()))


def _named(value: str) -> str:
    return value.partition(":")[0]


def _machine(state: ExecutionState) -> Hashable:
    return (
        state.status,
        tuple((n.status, n.occurrence, n.attempt, n.executed, n.skip_reason) for n in state.nodes),
        tuple(
            (t.phase, t.missing, t.live, t.live_guards, t.failed, t.has_guards, t.first_edge)
            for t in state.turns
        ),
        tuple((b.unsettled, b.turn, b.has_executed) for b in state.blocks),
        tuple(_token(token) for token in state.tokens),
        tuple((edge, _token(token)) for edge, token in sorted(state.back_tokens.items())),
        tuple((edge, _token(token)) for edge, token in sorted(state.held.items())),
        tuple(
            (node, tuple((ref.edge, _body(ref.envelope), ref.port) for ref in state.inputs[node]))
            for node in (*sorted(state.running), *state.ready)
        ),
        tuple(
            (node, _body(last.envelope), last.ports, last.edges, _token(last.otherwise))
            for node, last in sorted(state.emissions.items())
        ),
        tuple(sorted((node, run.occurrence) for node, run in state.running.items())),
        tuple(state.skips.items()),
        len(state.notices),
    )


def _token(token: MachineToken | None) -> Hashable:
    return token and (token.kind, _body(token.envelope), token.port, token.reason)


def _body(envelope: Envelope | None) -> str:
    return _named(str(envelope.body)) if envelope is not None else ""
