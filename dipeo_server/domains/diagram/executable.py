"""The compiled diagram: self-contained, indexed, hashed; what an execution runs and records.

Nodes and edges are referred to by their index. Everything the machine needs is in here, so a log
replays even after a node type was removed from the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any


class EdgeKind(StrEnum):
    """When an edge carries a live token."""

    ALWAYS = "always"
    WHEN = "when"
    DEFAULT = "default"
    FALLBACK = "fallback"


class JoinPolicy(StrEnum):
    """How many live tokens a node needs."""

    ALL = "all"
    ANY = "any"
    FIRST = "first"
    K_OF_N = "k_of_n"


class FanOut(StrEnum):
    """Which of the edges that hold are followed."""

    ALL = "all"
    FIRST = "first"


class AfterCrash(StrEnum):
    """What happens to a NodeRun that was running when the process died."""

    RERUN = "rerun"
    ASK = "ask"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a failed NodeRun is tried again; seconds.

    `attempts` counts all tries, the first included. `retry_on` lists error codes; empty = every
    error that says it is retryable.
    """

    attempts: int = 1
    backoff: str = "exponential"
    initial_seconds: float = 1.0
    max_seconds: float = 60.0
    jitter: float = 0.0
    retry_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnError:
    """What a failure puts on the node's edges once retries are used up.

    `policy` is fail, fallback, error_port, default_output or continue; `match` lists the error
    codes it is for (empty = all).
    """

    policy: str = "fail"
    output: Any = None
    match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutableNode:
    """One node with validated props; `incoming` and `outgoing` are edge indexes."""

    index: int
    key: str
    id: str
    type: str
    label: str
    props: Mapping[str, Any]
    position: tuple[float, float] | None = None
    join: JoinPolicy = JoinPolicy.ALL
    k: int = 1
    fan_out: FanOut = FanOut.ALL
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float | None = None
    on_error: OnError = field(default_factory=OnError)
    after_crash: AfterCrash = AfterCrash.RERUN
    is_pure: bool = False
    is_available: bool = True
    max_iteration: int = 100
    is_start: bool = False
    is_endpoint: bool = False
    may_end: bool = False
    branches: bool = False
    ports: tuple[str, ...] = ("default",)
    incoming: tuple[int, ...] = ()
    outgoing: tuple[int, ...] = ()
    block: int | None = None


@dataclass(frozen=True, slots=True)
class ExecutableEdge:
    """One edge. `input_name` is the name its value has at the target.

    `back_of` is the loop whose back edge it is; `entering` the loops it goes into (not awaited
    while one of them is past its first turn); `exit_of` the outermost loop it leaves; `may_die`:
    it can be dead by choice, so it guards its target.
    """

    index: int
    key: str
    source: int
    source_handle: str
    target: int
    target_handle: str
    input_name: str
    label: str | None = None
    kind: EdgeKind = EdgeKind.ALWAYS
    condition: str | None = None
    priority: int = 0
    content_type: str | None = None
    transform: Mapping[str, Any] | None = None
    back_of: int | None = None
    entering: tuple[int, ...] = ()
    exit_of: int | None = None
    may_die: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A loop, or (index 0) the whole run: what takes turns.

    `nodes` are those whose innermost block this is; `back_edges` all into `header`; `exits` the
    edges withheld until this loop has ended.
    """

    index: int
    parent: int | None
    header: int | None
    nodes: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    back_edges: tuple[int, ...] = ()
    exits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutablePerson:
    """A language model with a role."""

    key: str
    label: str
    service: str
    model: str
    system_prompt: str | None = None
    prompt_file: str | None = None
    api_key_id: str | None = None


@dataclass(frozen=True)
class ExecutableDiagram:
    """What an execution runs. `content_hash` covers keys, types, props, edges and persons.

    `reducers` names a reducer per execution variable; `path` is where the document lies below the
    base directory.
    """

    nodes: tuple[ExecutableNode, ...]
    edges: tuple[ExecutableEdge, ...]
    blocks: tuple[Block, ...]
    content_hash: str
    name: str | None = None
    description: str | None = None
    path: str | None = None
    persons: tuple[ExecutablePerson, ...] = ()
    reducers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Node index by key."""
        return {node.key: node.index for node in self.nodes}

    @cached_property
    def edge_index_of(self) -> dict[str, int]:
        """Edge index by key."""
        return {edge.key: edge.index for edge in self.edges}

    def get_node(self, key: str) -> ExecutableNode:
        """The node with that key. Raises KeyError."""
        return self.nodes[self.index_of[key]]

    def person(self, key: str) -> ExecutablePerson | None:
        """The person with that key or label, or None."""
        for person in self.persons:
            if key in (person.key, person.label):
                return person
        return None
