"""Twenty-six small diagrams and the runs that the rules of readiness make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.reference.joins import Reason
from tests.reference.sketch import Join, Script, Sketch


@dataclass(frozen=True)
class Seen:
    """Among the inputs of the reader's occurrence is what the writer's occurrence put out."""

    reader: str
    reads: int
    writer: str
    writes: int


@dataclass(frozen=True)
class Case:
    """A diagram, the answers of its conditions and what must come of them in every order.

    What is not mentioned is not promised by the case, except `no_progress`, MAXITER_REACHED runs
    and skipped nodes: there are no others.
    """

    id: str
    about: str
    text: str
    """In the notation of `Sketch.parse`."""
    runs: str
    """How many NodeRuns of a node are executed: `h3` or, where the name has digits, `c1=3`."""
    answers: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    joins: Mapping[str, Join] = field(default_factory=dict)
    maxiter: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, Reason] = field(default_factory=dict)
    no_progress: bool = False
    seen: tuple[Seen, ...] = ()

    @property
    def sketch(self) -> Sketch:
        """The diagram itself."""
        return Sketch.parse(self.text, limits=self.limits, joins=self.joins)

    @property
    def script(self) -> Script:
        """What its conditions answer."""
        return self.sketch.script(**self.answers)

    @property
    def executed(self) -> dict[str, int]:
        """How often each node that the case mentions is executed."""
        pairs = [
            word.split("=") if "=" in word else (word[:-1], word[-1]) for word in self.runs.split()
        ]
        return {name: int(count) for name, count in pairs}


CASES = (
    Case(
        "T1",
        "work, check, fix",
        "s -> h -> c; c.f -> b -> h; c.t -> e",
        "h3 c3 b2 e1",
        answers={"c": "FFT"},
        seen=(Seen("h", 2, "s", 1), Seen("h", 2, "b", 1), Seen("h", 3, "b", 2)),
    ),
    Case(
        "T2",
        "diamond in a loop",
        "s -> h -> c1; c1.t -> x -> j; c1.f -> y -> j; j -> c2; c2.f -> h; c2.t -> e",
        "h3 c1=3 x2 y1 j3 c2=3 e1",
        answers={"c1": "TFT", "c2": "FFT"},
    ),
    Case(
        "T3",
        "nested loops",
        "s -> o -> h -> c1; c1.f -> h; c1.t -> c2; c2.f -> o; c2.t -> e",
        "o2 h3 c1=3 c2=2 e1",
        answers={"c1": "FTT", "c2": "FT"},
        seen=(Seen("h", 2, "o", 1), Seen("h", 3, "o", 2)),
    ),
    Case(
        "T4",
        "continue: two back edges to one header",
        "s -> h -> c1; c1.t -> h; c1.f -> b -> c2; c2.f -> h; c2.t -> e",
        "h3 c1=3 b2 c2=2 e1",
        answers={"c1": "TF", "c2": "FT"},
    ),
    Case(
        "T4b",
        "two back edges, in parallel",
        "s -> h; h -> a -> c1; h -> b -> c2; c1.f -> h; c2.f -> h; c1.t -> e; c2.t -> e2",
        "h3 a3 b3 c1=3 c2=3 e1 e2=1",
        answers={"c1": "FT", "c2": "FFT"},
    ),
    Case(
        "T5",
        "tap: log is a tail and runs once per turn",
        "s -> h -> c; c.f -> h; c.t -> e; h -> log",
        "h3 c3 log3 e1",
        answers={"c": "FFT"},
    ),
    Case(
        "T5b",
        "tap and exit join: the tail's own exit brings its last value",
        "s -> h -> c; c.f -> h; c.t -> e; h -> log -> j; c.t -> j -> e",
        "log3 j1 e1",
        answers={"c": "FFT"},
        seen=(Seen("j", 1, "log", 3), Seen("j", 1, "c", 3)),
    ),
    Case(
        "T5c",
        "tap that joins an outside branch: no tail, an exit",
        "s -> h -> c; c.f -> h; c.t -> e; h -> j; s -> k -> j",
        "h3 c3 k1 j1 e1",
        answers={"c": "FFT"},
        seen=(Seen("j", 1, "h", 3), Seen("j", 1, "k", 1)),
    ),
    Case(
        "T6",
        "exit from the middle",
        "s -> h -> c1; c1.t -> out; c1.f -> b -> c2; c2.f -> h; c2.t -> e",
        "h3 b2 c2=2 out1",
        answers={"c1": "FFT", "c2": "F"},
        skipped={"e": "branch_not_taken"},
    ),
    Case(
        "T6b",
        "notify and go on: the port also feeds the loop, so log is a tail",
        "s -> h -> c1; c1.t -> log; c1.t -> b; c1.f -> b -> c2; c2.f -> h; c2.t -> e",
        "log2 b3 e1",
        answers={"c1": "TFT", "c2": "FFT"},
    ),
    Case(
        "T7",
        "one branch leaves while the other loops",
        "s -> h; h -> c1; h -> c2; c1.t -> out; c1.f -> h; c2.f -> h; c2.t -> e",
        "h3 c1=3 c2=3 out1 e1",
        answers={"c1": "TFT", "c2": "FFT"},
        seen=(Seen("out", 1, "c1", 3),),
    ),
    Case(
        "T7b",
        "both exits join",
        "s -> h; h -> c1; h -> c2; c1.t -> j; c1.f -> h; c2.f -> h; c2.t -> j -> e",
        "h3 j1 e1",
        answers={"c1": "FT", "c2": "FFT"},
        seen=(Seen("j", 1, "c1", 3), Seen("j", 1, "c2", 3)),
    ),
    Case(
        "T8",
        "literal ANY, acyclic",
        "s -> c; c.t -> x -> m; c.f -> y -> y2 -> m; m -> e",
        "m1 e1",
        answers={"c": "F"},
        joins={"m": "ANY"},
        skipped={"x": "branch_not_taken"},
    ),
    Case(
        "T8b",
        "ANY in a loop",
        "s -> h; h -> a -> m; h -> b -> m; m -> c; c.f -> h; c.t -> e",
        "h3 a3 b3 m3 c3 e1",
        answers={"c": "FFT"},
        joins={"m": "ANY"},
    ),
    Case(
        "T9",
        "self-loop with a limit",
        "s -> a; a -> a; a -> e",
        "a3 e1",
        limits={"a": 3},
        maxiter={"a": 1},
        no_progress=True,
        seen=(Seen("e", 1, "a", 3),),
    ),
    Case(
        "T10",
        "two entries, the header's own not taken",
        "s -> c0; c0.t -> a; c0.f -> b; a -> b -> c1; c1.f -> a; c1.t -> e",
        "a1 b2 c1=2 e1",
        answers={"c0": "F", "c1": "FT"},
    ),
    Case(
        "T10b",
        "two entries, both taken",
        "s -> a; s -> b; a -> b -> c1; c1.f -> a; c1.t -> e",
        "a2 b2 c1=2 e1",
        answers={"c1": "FT"},
    ),
    Case(
        "T12",
        "debate: two limits in one loop",
        "s -> t; t -> o; t -> p; o -> p -> c; c.f -> o; c.t -> j -> e",
        "o2 p3 c3 j1 e1",
        answers={"c": "FFT"},
        limits={"o": 2, "p": 3},
        maxiter={"o": 1},
        seen=(Seen("p", 3, "o", 2),),
    ),
    Case(
        "T13",
        "limits only",
        "s -> a -> b -> a; b -> e",
        "a2 b3 e1",
        limits={"a": 2, "b": 3},
        maxiter={"a": 2, "b": 1},
        no_progress=True,
    ),
    Case(
        "T14",
        "data edge into the body: k stays visible in every turn",
        "s -> h; s -> k -> b; h -> b -> c; c.f -> h; c.t -> e",
        "h3 k1 b3 c3 e1",
        answers={"c": "FFT"},
        seen=(Seen("b", 1, "k", 1), Seen("b", 2, "k", 1), Seen("b", 3, "k", 1)),
    ),
    Case(
        "T15b",
        "while loop, not entered",
        "s -> c; c.t -> b -> c; c.f -> e",
        "c1 e1",
        answers={"c": "F"},
        skipped={"b": "branch_not_taken"},
    ),
    Case(
        "T16",
        "loop on a branch not taken",
        "s -> c0; c0.t -> h -> c; c.f -> h; c.t -> e2; c0.f -> e",
        "e1",
        answers={"c0": "F", "c": "F"},
        skipped=dict.fromkeys(("h", "c", "e2"), "branch_not_taken"),
    ),
    Case(
        "T17",
        "data edge into the condition",
        "s -> a; s -> k; a -> c; k -> c; c.f -> k; c.t -> e",
        "a1 k3 c3 e1",
        answers={"c": "FFT"},
        seen=(Seen("c", 3, "a", 1), Seen("c", 3, "k", 3)),
    ),
    Case(
        "T18",
        "a data edge does not defeat the guard",
        "s -> c; c.t -> b; c.f -> x; s -> k -> b; b -> e; x -> e2",
        "k1 x1 e2=1",
        answers={"c": "F"},
        skipped=dict.fromkeys(("b", "e"), "branch_not_taken"),
    ),
    Case(
        "T19",
        "K_OF_N short: a dead path passes on why",
        "s -> c1; s -> c2; s -> a; c1.t -> m; c2.t -> m; a -> m -> e",
        "c1=1 c2=1 a1",
        answers={"c1": "F", "c2": "F"},
        joins={"m": 2},
        skipped=dict.fromkeys(("m", "e"), "join_not_met"),
    ),
    Case(
        "T20",
        "the inner header awaits no edge in the outer loop's second turn",
        "s -> c; s -> h; b -> h; b -> c; h -> b; c.t -> b; c.f -> e",
        "c2 h2 b2 e1",
        answers={"c": "TF"},
        limits={"h": 2, "b": 2},
        maxiter={"h": 1, "b": 1},
        no_progress=True,
    ),
)
