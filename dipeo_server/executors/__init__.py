"""Graphs run from Python: the two executors, and everything a program needs beside them."""

from __future__ import annotations

from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem
from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    CheckpointPreset,
    CheckpointScore,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import ErrorStrategy, GivenOutput
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.output import SKIP_BRANCH
from dipeo_server.executors.async_graph import AsyncGraphExecutor
from dipeo_server.executors.functions import NodeCall
from dipeo_server.executors.graph import Graph
from dipeo_server.executors.graph_errors import (
    GraphCancelled,
    GraphError,
    GraphResult,
    InvalidGraph,
    LogEntry,
    MissingEdge,
    NodeExecutionFailed,
    NodeNotFound,
    StepsExceeded,
    Unrouted,
)
from dipeo_server.executors.graph_events import (
    BarrierResolved,
    BarrierWaiting,
    BranchCompleted,
    CheckpointFailed,
    CheckpointSaved,
    GraphComplete,
    GraphEvent,
    GraphFailed,
    GraphPaused,
    GraphResumed,
    GraphStart,
    NodeEnd,
    NodeStart,
    ObservedError,
    ParallelCompleted,
    ParallelStarted,
    StateChanged,
)
from dipeo_server.executors.graph_executor import GraphExecution, GraphExecutor, GraphHandle
from dipeo_server.executors.graph_steps import End, Fallback, GoTo, GoToNext, StateView, Step
from dipeo_server.executors.handle import Decision, NotYetAvailable, RunHandle
from dipeo_server.executors.live import AlreadyRunning
from dipeo_server.executors.results import NodeResult, RunFailed, RunResults, stored_results
from dipeo_server.executors.resuming import GraphChanged, IfChanged
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.opening import open_store

__all__ = [
    "SKIP_BRANCH",
    "AlreadyRunning",
    "AsyncGraphExecutor",
    "BarrierID",
    "BarrierResolved",
    "BarrierWaiting",
    "BranchCompleted",
    "Checkpoint",
    "CheckpointFailed",
    "CheckpointPreset",
    "CheckpointSaved",
    "CheckpointScore",
    "CheckpointTrigger",
    "Decision",
    "DiagramInvalid",
    "DiagramProblem",
    "End",
    "ErrorStrategy",
    "Fallback",
    "GivenOutput",
    "GoTo",
    "GoToNext",
    "Graph",
    "GraphCancelled",
    "GraphChanged",
    "GraphComplete",
    "GraphError",
    "GraphEvent",
    "GraphExecution",
    "GraphExecutor",
    "GraphFailed",
    "GraphHandle",
    "GraphPaused",
    "GraphResult",
    "GraphResumed",
    "GraphStart",
    "IfChanged",
    "InvalidGraph",
    "LogEntry",
    "MemoryStore",
    "MissingEdge",
    "NodeCall",
    "NodeEnd",
    "NodeExecutionFailed",
    "NodeNotFound",
    "NodeResult",
    "NodeStart",
    "NotYetAvailable",
    "ObservedError",
    "ParallelCompleted",
    "ParallelStarted",
    "RunFailed",
    "RunHandle",
    "RunResults",
    "StateChanged",
    "StateView",
    "Step",
    "StepsExceeded",
    "Unrouted",
    "open_store",
    "stored_results",
]
