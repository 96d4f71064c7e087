"""What a seed stands for: diagrams, what their nodes do, who asks for what, and what goes wrong."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from dipeo_server.domains.diagram.compile import assemble
from dipeo_server.domains.diagram.executable import AfterCrash, ExecutableDiagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports
from dipeo_server.domains.execution.checkpoint import CheckpointPolicy
from dipeo_server.domains.execution.events import Durability, ErrorStrategy
from dipeo_server.runtime.perform import ConcurrencyLimits
from tests.reference.generate import random_failures, random_sketch
from tests.reference.interpreter import Failures, TooManySteps, run
from tests.reference.sketch import Script, Sketch
from tests.simulation.faults import CrashPoint, DiskHabits, Trouble
from tests.simulation.loop import Order

ITERATIONS_MAX = 3
TIMEOUT_SECONDS = 5.0
CHILD = "child"
PADDING = " "
"""What makes large bodies large."""

_BOTH = Ports(outputs=("condtrue", "condfalse"))
_RERUN = AfterCrash.RERUN
SPECS: Mapping[str, NodeSpec] = {
    "start": NodeSpec("start", NodeProps, Ports(inputs=()), after_crash=_RERUN, is_pure=True),
    "pure": NodeSpec("pure", NodeProps, after_crash=_RERUN, is_pure=True),
    "work": NodeSpec("work", NodeProps, after_crash=_RERUN),
    "ask": NodeSpec("ask", NodeProps, after_crash=AfterCrash.ASK),
    "fail": NodeSpec("fail", NodeProps, after_crash=AfterCrash.FAIL),
    "question": NodeSpec("question", NodeProps, after_crash=_RERUN, is_pure=True),
    "barrier": NodeSpec("barrier", NodeProps, after_crash=_RERUN),
    CHILD: NodeSpec(CHILD, NodeProps, after_crash=_RERUN, holds_slot=False),
    "condition": NodeSpec(
        "condition", NodeProps, _BOTH, after_crash=_RERUN, is_pure=True, branches=True
    ),
    "choice": NodeSpec("choice", NodeProps, _BOTH, after_crash=_RERUN, branches=True),
    "endpoint": NodeSpec("endpoint", NodeProps, after_crash=_RERUN),
}
_HARMLESS = ("pure", "pure", "pure", "work", "work", "ask", "question", CHILD)
_TYPES = {
    "start": ("start",),
    "condition": ("condition", "condition", "choice"),
    "endpoint": ("endpoint",),
}


JOURNEYS = frozenset({"fork", "change", "save", "forget"})
"""What people do who go back to how a run stood, change its graph, or see to its checkpoints."""


class Person(StrEnum):
    """Who sits at the barriers of a run."""

    WILLING = "willing"
    MOODY = "moody"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a node does each time: how long it works before and after its effect (seconds).

    It fails or hangs in its first entries, is slow to obey when cancelled (`stubborn` seconds),
    waits `delay` seconds in a timer, tells its result early, or tells more than fits in a log.
    """

    type: str
    before: float = 0.0
    after: float = 0.0
    fails: int = 0
    hangs: int = 0
    stubborn: float = 0.0
    delay: float | None = None
    is_early: bool = False
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """A subscriber: it takes its time (seconds at most), and is cut off now and then."""

    pause: float
    cuts: float
    start_at: float


@dataclass(frozen=True, slots=True)
class Meddling:
    """Somebody does something to a run, so many seconds behind its start; `luck` says with what.

    `kind` is "pause", "break", "early", "revoke", or one of `JOURNEYS`.
    """

    kind: str
    at: float
    luck: float


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One execution, known to its nodes by its name, which is a variable of the run.

    `is_comparable`: the reference interpreter says how it must end.
    """

    name: str
    sketch: Sketch
    script: Script
    failures: Failures
    behaviours: tuple[Behaviour, ...]
    strategy: ErrorStrategy
    is_comparable: bool
    person: Person = Person.WILLING
    max_steps: int | None = None
    start_at: float = 0.0
    abort_at: float | None = None
    readers: tuple[Reader, ...] = ()
    meddling: tuple[Meddling, ...] = ()
    checkpoints: CheckpointPolicy = ()
    cap: int = ITERATIONS_MAX
    specs: Mapping[str, NodeSpec] = field(default_factory=lambda: SPECS)

    @property
    def journeys(self) -> int:
        """How often somebody forks it, changes its graph, or sees to its checkpoints."""
        return sum(meddling.kind in JOURNEYS for meddling in self.meddling)

    def behaviour_of(self, key: str, type_: str) -> Behaviour:
        """What a node of that type does, which may not have been there when the run began."""
        if key in self.sketch.names:
            known = self.behaviours[self.sketch.names.index(key)]
            if known.type == type_:
                return known
        return Behaviour(type_)

    def fails(self, key: str, occurrence: int) -> bool:
        """Does that visit fail, however often it is tried?"""
        names = self.sketch.names
        return key in names and (names.index(key), occurrence) in self.failures

    def answer(self, key: str, occurrence: int) -> bool:
        """What a condition answers at that visit."""
        names = self.sketch.names
        answers = self.script.get(names.index(key)) if key in names else None
        if answers is None:
            return random.Random(f"{key} {occurrence}").random() < 0.5
        return answers[min(occurrence, len(answers)) - 1]

    @property
    def diagram(self) -> ExecutableDiagram:
        """What the runner is given."""
        return executable(self.sketch, self.behaviours, self.specs, self.cap)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything a seed decides beforehand.

    `impatience` is how often clients hang up and ask again; `clock_jumps` are the errors of the
    wall clocks of processes, `stops` when a process is asked to stop in good order (seconds),
    `idle_seconds` how long a run waits before it leaves the memory.
    """

    seed: int
    mode: Durability
    order: Order
    runs: tuple[RunPlan, ...]
    dooms: tuple[tuple[CrashPoint, int], ...]
    habits: DiskHabits
    limits: ConcurrencyLimits
    impatience: float
    clock_jumps: tuple[float, ...]
    stops: tuple[float, ...]
    idle_seconds: float


def executable(
    sketch: Sketch, behaviours: tuple[Behaviour, ...], specs: Mapping[str, NodeSpec], cap: int
) -> ExecutableDiagram:
    """The sketch with these node types; edge n is the input `input_n`.

    `cap` is the limit of nodes without a limit of their own.
    """
    nodes = tuple(
        DomainNode(name, name, behaviour.type, name, _props(sketch, index, behaviour, cap))
        for index, (name, behaviour) in enumerate(zip(sketch.names, behaviours, strict=True))
    )
    edges = tuple(
        DomainEdge(
            f"arrow_{number}",
            sketch.names[source],
            sketch.names[target],
            port,
            label=f"input_{number}",
        )
        for number, (source, port, target) in enumerate(sketch.edges)
    )
    return assemble(DomainDiagram(nodes, edges), specs)[0]


def _props(sketch: Sketch, index: int, behaviour: Behaviour, cap: int) -> dict[str, Any]:
    join = sketch.joins[index]
    policies = {"ALL": "all", "ANY": "any", "FIRST": "first"}
    policy = {"join": "k_of_n", "k": join} if isinstance(join, int) else {"join": policies[join]}
    props = {"max_iteration": sketch.limits[index] or cap, **policy}
    tries = behaviour.fails + behaviour.hangs + 1
    if tries > 1:
        retry = {"attempts": tries, "initial_seconds": 0.2, "backoff": "constant"}
        props |= {"retry": {**retry}, "timeout": TIMEOUT_SECONDS}
    return props


def scenario(seed: int, mode: Durability) -> Scenario:
    """What happens in the simulation of that seed; the mode changes nothing else in it."""
    chance = random.Random(seed)
    runs = tuple(_run_plan(chance, f"run{number}") for number in range(_few(chance, 3)))
    if chance.random() < 0.02:
        runs = (_long_run(chance, "run0"), *runs[1:])
    dooms = tuple(_doom(chance) for _ in range(chance.choice((0, 2, 3, 4, 5))))
    return Scenario(
        seed,
        mode,
        chance.choice((Order.OLDEST, Order.ANY, Order.ANY, Order.NEWEST)),
        runs,
        dooms,
        _habits(chance),
        _limits(chance),
        chance.choice((0.0, 0.0, 0.2)),
        tuple(chance.choice((0.0, 0.0, chance.uniform(-30, 30))) for _ in range(8)),
        tuple(chance.uniform(0, 5) for _ in range(chance.choice((0, 0, 0, 1, 2)))),
        chance.choice((0.01, 0.1, 1.0, 20.0)),
    )


def _few(chance: random.Random, most: int) -> int:
    return min(chance.randint(1, most), chance.randint(1, most))


def _run_plan(chance: random.Random, name: str) -> RunPlan:
    is_comparable = chance.random() < 0.6
    sketch, script, failures = _sketch(chance, is_comparable=is_comparable)
    types = _HARMLESS if is_comparable else (*_HARMLESS, "fail", "barrier")
    behaviours = tuple(
        _behaviour(chance, _TYPES.get(kind, types), may_wait=kind in ("plain", "endpoint"))
        for kind in sketch.kinds
    )
    strategy = ErrorStrategy.COLLECT
    abort_at: float | None = None
    person = Person.WILLING
    if not is_comparable:
        strategy = chance.choice(list(ErrorStrategy))
        person = chance.choice(list(Person))
        abort_at = chance.uniform(0, 3) if chance.random() < 0.4 else None
    return RunPlan(
        name,
        sketch,
        script,
        failures,
        behaviours,
        strategy,
        is_comparable,
        person,
        max_steps=chance.randint(1, 12) if chance.random() < 0.3 else None,
        start_at=chance.uniform(0, 1),
        abort_at=abort_at,
        readers=tuple(_reader(chance) for _ in range(_few(chance, 3))),
    )


def _long_run(chance: random.Random, name: str) -> RunPlan:
    """A loop of many turns, most of it pure: longer than pages, rings and what runs ahead."""
    turns = chance.randint(20, 230)
    sketch = Sketch.parse("s -> h -> w -> c; c.f -> h; c.t -> e")
    types = ("start", chance.choice(("pure", "pure", "work")), "pure", "condition", "endpoint")
    return RunPlan(
        name,
        sketch,
        sketch.script(c="F" * turns + "T"),
        frozenset(),
        tuple(Behaviour(type_) for type_ in types),
        ErrorStrategy.COLLECT,
        is_comparable=True,
        readers=tuple(replace(_reader(chance), pause=0.0) for _ in range(2)),
        cap=1_000,
    )


def _sketch(chance: random.Random, *, is_comparable: bool) -> tuple[Sketch, Script, Failures]:
    """A diagram that ends within a bearable number of steps."""
    while True:
        sketch, script = random_sketch(chance, 8, joins_all=is_comparable)
        failures = random_failures(chance, sketch) if chance.random() < 0.3 else frozenset()
        failures = frozenset(each for each in failures if sketch.kinds[each[0]] != "start")
        try:
            run(sketch, script, min, failures, cap=ITERATIONS_MAX, max_steps=40)
        except TooManySteps:
            continue
        return sketch, script, failures


def _behaviour(chance: random.Random, types: tuple[str, ...], *, may_wait: bool) -> Behaviour:
    type_ = chance.choice(types)
    if type_ in ("question", "barrier", CHILD):
        return Behaviour(type_)
    trouble = chance.random()
    return Behaviour(
        type_,
        before=chance.choice((0.0, 0.0, chance.uniform(0, 0.3))),
        after=chance.choice((0.0, 0.0, chance.uniform(0, 0.3))),
        fails=chance.randint(1, 2) if trouble < 0.15 else 0,
        hangs=1 if 0.15 < trouble < 0.22 else 0,
        stubborn=chance.choice((0.0, 0.0, 0.5, 2.5)),
        delay=chance.uniform(0, 2) if may_wait and chance.random() < 0.1 else None,
        is_early=chance.random() < 0.1,
        is_large=chance.random() < 0.08,
    )


def _reader(chance: random.Random) -> Reader:
    return Reader(
        pause=chance.choice((0.0, 0.0, 0.1, 1.0)),
        cuts=chance.choice((0.0, 0.0, 0.1)),
        start_at=chance.choice((0.0, chance.uniform(0, 4))),
    )


_USUAL = {
    CrashPoint.BEFORE_APPEND: 12,
    CrashPoint.DURABLE: 12,
    CrashPoint.APPENDED: 12,
    CrashPoint.PUBLISHED: 30,
    CrashPoint.ANSWERED: 4,
    CrashPoint.ENTERED: 8,
    CrashPoint.BEFORE_EFFECT: 5,
    CrashPoint.AFTER_EFFECT: 5,
    CrashPoint.POSTED: 7,
    CrashPoint.BEFORE_BLOB: 2,
    CrashPoint.RECOVERING: 3,
    CrashPoint.ANYWHERE: 400,
}
"""How often a point is passed in a usual run: the n-th time is drawn from there."""


def _doom(chance: random.Random) -> tuple[CrashPoint, int]:
    point = chance.choice(list(CrashPoint))
    return point, chance.randint(1, _USUAL[point])


def _habits(chance: random.Random) -> DiskHabits:
    troubles = tuple(
        Trouble(start, start + chance.uniform(0.05, 3), chance.random() < 0.5, is_reading)
        for start, is_reading in (
            (chance.uniform(0, 4), chance.random() < 0.3) for _ in range(_few(chance, 3))
        )
    )
    return DiskHabits(
        commit_seconds_max=chance.choice((0.0, 0.002, 0.05, 0.5)),
        hiccups=chance.choice((0.0, 0.0, 0.03, 0.15)),
        bad_reads=chance.choice((0.0, 0.0, 0.0, 0.05)),
        troubles=troubles if chance.random() < 0.4 else (),
    )


def _limits(chance: random.Random) -> ConcurrencyLimits:
    if chance.random() < 0.6:
        return ConcurrencyLimits()
    return ConcurrencyLimits(chance.randint(1, 3), {"work": chance.randint(1, 2)})


_CHILD_SKETCH = Sketch.parse("s -> p -> w -> e")
CHILD_PLAN = RunPlan(
    CHILD,
    _CHILD_SKETCH,
    {},
    frozenset(),
    (Behaviour("start"), Behaviour("pure"), Behaviour("work", 0.05), Behaviour("endpoint")),
    ErrorStrategy.FAIL_FAST,
    is_comparable=False,
)
"""What every child execution is."""

SLOW_CHILD_PLAN = replace(
    CHILD_PLAN,
    behaviours=(*CHILD_PLAN.behaviours[:2], Behaviour("work", 1.5), Behaviour("endpoint")),
)
"""The same where runs are forked, so that somebody does so before it has ended."""
