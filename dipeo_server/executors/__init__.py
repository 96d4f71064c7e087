"""Graphs run from Python: the executors, and everything a program needs beside them."""

from __future__ import annotations

from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem
from dipeo_server.domains.execution.checkpoint import (
    Checkpoint,
    CheckpointFailurePolicy,
    CheckpointPreset,
    CheckpointScore,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.events import ErrorStrategy, GivenOutput
from dipeo_server.domains.execution.ids import BarrierID
from dipeo_server.domains.execution.output import SKIP_BRANCH
from dipeo_server.executors.async_graph import AsyncGraphExecutor
from dipeo_server.executors.execution_answers import (
    GraphElements,
    MergedStateHistory,
    MergedValue,
    Mutated,
)
from dipeo_server.executors.execution_evaluation import (
    EvaluationKind,
    ExecutionStateEvaluation,
    FutureExecutionState,
    OperationExecutionEvent,
    OperationExecutionStatus,
)
from dipeo_server.executors.execution_graph import ExecutionGraph
from dipeo_server.executors.execution_graph_errors import (
    FixedPoint,
    FunctionNotFound,
    NameCollision,
    NoCounterpart,
    NoGraphSender,
    OperationNotFound,
    OperationNotReady,
    StateBusy,
    StateNotFound,
)
from dipeo_server.executors.execution_state import (
    DISPATCHED,
    Dispatched,
    ExecutionState,
    OperationOutput,
    Stepped,
)
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
from dipeo_server.executors.handle import Decision, RunHandle
from dipeo_server.executors.live import AlreadyRunning
from dipeo_server.executors.messages import Message
from dipeo_server.executors.operation_diagram import OUTPUT
from dipeo_server.executors.operation_nodes import OperationCall
from dipeo_server.executors.operation_set import (
    CreateDependencies,
    DeleteDependencies,
    DependencyGraphMutation,
)
from dipeo_server.executors.operations import (
    Cell,
    Dependency,
    Operation,
    Reference,
    ReferenceKind,
    TriggerMode,
)
from dipeo_server.executors.results import NodeResult, RunFailed, RunResults, stored_results
from dipeo_server.executors.resuming import GraphChanged, IfChanged
from dipeo_server.executors.state_ids import ROOT_ID
from dipeo_server.storage.memory import MemoryStore
from dipeo_server.storage.opening import open_store

__all__ = [
    "DISPATCHED",
    "OUTPUT",
    "ROOT_ID",
    "SKIP_BRANCH",
    "AlreadyRunning",
    "AsyncGraphExecutor",
    "BarrierID",
    "BarrierResolved",
    "BarrierWaiting",
    "BranchCompleted",
    "Cell",
    "Checkpoint",
    "CheckpointFailed",
    "CheckpointFailurePolicy",
    "CheckpointPreset",
    "CheckpointSaved",
    "CheckpointScore",
    "CheckpointTrigger",
    "CreateDependencies",
    "Decision",
    "DeleteDependencies",
    "Dependency",
    "DependencyGraphMutation",
    "DiagramInvalid",
    "DiagramProblem",
    "Dispatched",
    "End",
    "ErrorStrategy",
    "EvaluationKind",
    "ExecutionGraph",
    "ExecutionState",
    "ExecutionStateEvaluation",
    "Fallback",
    "FixedPoint",
    "FunctionNotFound",
    "FutureExecutionState",
    "GivenOutput",
    "GoTo",
    "GoToNext",
    "Graph",
    "GraphCancelled",
    "GraphChanged",
    "GraphComplete",
    "GraphElements",
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
    "MergedStateHistory",
    "MergedValue",
    "Message",
    "MissingEdge",
    "Mutated",
    "NameCollision",
    "NoCounterpart",
    "NoGraphSender",
    "NodeCall",
    "NodeEnd",
    "NodeExecutionFailed",
    "NodeNotFound",
    "NodeResult",
    "NodeStart",
    "ObservedError",
    "Operation",
    "OperationCall",
    "OperationExecutionEvent",
    "OperationExecutionStatus",
    "OperationNotFound",
    "OperationNotReady",
    "OperationOutput",
    "ParallelCompleted",
    "ParallelStarted",
    "Reference",
    "ReferenceKind",
    "RunFailed",
    "RunHandle",
    "RunResults",
    "StateBusy",
    "StateChanged",
    "StateNotFound",
    "StateView",
    "Step",
    "Stepped",
    "StepsExceeded",
    "TriggerMode",
    "Unrouted",
    "open_store",
    "stored_results",
]
