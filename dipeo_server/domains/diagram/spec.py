"""What a node type is: its props, its ports, and what the engine must know of it."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dipeo_server.domains.diagram.executable import AfterCrash, FanOut, JoinPolicy


@dataclass(frozen=True, slots=True)
class Within:
    """A diagram inside a node; `own` are the variables whose changes stay in it."""

    document: Mapping[str, Any] | str
    own: frozenset[str] = frozenset()


class NodeProps(BaseModel):
    """Base of every node type's props: what an author declares, checked when a diagram compiles.

    Unknown fields are kept (older files carry some) and reported as warnings.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    def crash_policy(self) -> AfterCrash | None:
        """What a crash means for this very node; None = what its type says."""
        return None

    def writes(self, label: str) -> tuple[str, ...]:
        """Variables that this very node is known to write whenever it runs; its label is given."""
        del label
        return ()

    def branches_within(self) -> Mapping[str, Within]:
        """Diagrams written out in this node that change the variables of its run, by branch."""
        return {}


class RetrySettings(BaseModel):
    """`retry:` of any node; seconds. `attempts` counts all tries, the first included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(3, ge=1, le=100, description="All tries, the first included.")
    backoff: Literal["constant", "exponential"] = "exponential"
    initial_seconds: float = Field(1.0, ge=0, le=86_400)
    max_seconds: float = Field(60.0, ge=0, le=86_400)
    jitter: float = Field(0.0, ge=0, le=1, description="Share of the delay that is random.")
    retry_on: tuple[str, ...] = Field((), description="Error codes; empty = what is retryable.")


class OnErrorSettings(BaseModel):
    """`on_error:` of any node: what a failure becomes once retries are used up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["fail", "fallback", "error_port", "default_output", "continue"] = "fail"
    output: Any = None
    match: tuple[str, ...] = Field((), description="Error codes it is for; empty = all.")


class NodeSettings(BaseModel):
    """What any node may say to the engine, whatever its type."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    join: JoinPolicy = JoinPolicy.ALL
    k: int = Field(1, ge=1)
    fan_out: FanOut = FanOut.ALL
    retry: RetrySettings | None = None
    timeout: float | None = Field(None, gt=0, description="Seconds per attempt.")
    on_error: OnErrorSettings | None = None
    after_crash: AfterCrash | None = None
    max_iteration: int | None = Field(None, ge=1, le=1_000_000)
    loop_header: bool = False
    may_end: bool = Field(default=False, description="Its handler may end the whole run.")
    skippable: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """Names of a type's inputs and outputs (handles)."""

    inputs: tuple[str, ...] = ("default",)
    outputs: tuple[str, ...] = ("default",)


ONE_IN_ONE_OUT = Ports()


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node type as the engine and the schema see it.

    `branches`: which of its ports fire is its choice, so its edges are guards (condition, barrier).
    `is_pure`: running it twice is harmless and nothing leaves the process.
    `holds_slot`: it counts against the limit of nodes running at once.
    """

    type: str
    props: builtins.type[NodeProps]
    ports: Ports = ONE_IN_ONE_OUT
    category: str = "other"
    label: str = ""
    description: str = ""
    after_crash: AfterCrash = AfterCrash.ASK
    is_pure: bool = False
    branches: bool = False
    holds_slot: bool = True
