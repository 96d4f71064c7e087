"""Who takes part: contestants, their modes, their environments, and what they can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.shapes import NAMES


@dataclass(frozen=True, slots=True)
class Contestant:
    """One column of the table; `module` lies in `bench.contestants`.

    `peer` names the requirements of its own environment; None = this project's.
    """

    name: str
    module: str
    mode: str = "-"
    peer: str | None = None
    workloads: tuple[str, ...] = NAMES


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in NAMES if name not in names)


RAW: Final = Contestant("asyncio", "raw")
IDEAL_STRICT: Final = Contestant("ideal strict", "ideal", "strict")
IDEAL_AHEAD: Final = Contestant("ideal ahead", "ideal", "ahead")
STRICT: Final = Contestant("STRICT", "ours", "strict")
EFFECTS: Final = Contestant("ADAPTIVE, effects", "ours", "adaptive")
ADAPTIVE: Final = Contestant("ADAPTIVE", "ours", "pure")
MEMORY: Final = Contestant("memory", "ours", "memory")
LANGGRAPH_SYNC: Final = Contestant("LangGraph sync", "langgraph_peer", "sync", "langgraph")
LANGGRAPH_ASYNC: Final = Contestant("LangGraph async", "langgraph_peer", "async", "langgraph")
LANGGRAPH_BARE: Final = Contestant("LangGraph bare", "langgraph_peer", "none", "langgraph")
DBOS: Final = Contestant("DBOS", "dbos_peer", peer="dbos")
HAMILTON: Final = Contestant(
    "hamilton", "hamilton_peer", peer="hamilton", workloads=_without("loop")
)
PYDANTIC_GRAPH: Final = Contestant(
    "pydantic-graph", "pydantic_graph_peer", peer="pydantic-graph", workloads=_without("layered")
)

STRICT_PEERS: Final = (LANGGRAPH_SYNC, DBOS)
"""A step is durable before the next one begins, as with STRICT."""
DURABLE_PEERS: Final = (*STRICT_PEERS, LANGGRAPH_ASYNC)
OURS: Final = (STRICT, EFFECTS, ADAPTIVE, MEMORY)
ALL: Final = (
    RAW,
    IDEAL_STRICT,
    IDEAL_AHEAD,
    *OURS,
    *DURABLE_PEERS,
    LANGGRAPH_BARE,
    HAMILTON,
    PYDANTIC_GRAPH,
)
"""In the order of the table."""
