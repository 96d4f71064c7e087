"""Every enum of the schema, with a sentence about each member."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import TypeVar

import strawberry
from strawberry.types.enum import has_enum_definition

from dipeo_server.domains.diagram.executable import AfterCrash, EdgeKind, FanOut, JoinPolicy
from dipeo_server.domains.diagram.problem import Severity
from dipeo_server.domains.execution.checkpoint import (
    CheckpointFailurePolicy,
    CheckpointPreset,
    CheckpointTrigger,
)
from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.domains.execution.events import BarrierAction, Durability, ErrorStrategy
from dipeo_server.domains.execution.graph_groups import GroupKind
from dipeo_server.domains.execution.interventions import BreakpointWhen, PauseMode
from dipeo_server.domains.execution.status import (
    BarrierStatus,
    ExecutionStatus,
    NodeExecutionStatus,
)

E = TypeVar("E", bound=Enum)


class DiagramFormat(StrEnum):
    """In which format a document is written."""

    NATIVE = "native"
    LIGHT = "light"
    READABLE = "readable"


class ExecutionAction(StrEnum):
    """What can be done to an execution in its present status."""

    PAUSE = "PAUSE"
    RESUME = "RESUME"
    STEP = "STEP"
    ABORT = "ABORT"
    FORK = "FORK"
    RETRY_NODE = "RETRY_NODE"
    SKIP_NODE = "SKIP_NODE"
    SET_OUTPUT = "SET_OUTPUT"
    MUTATE = "MUTATE"


class RevisionPolicy(StrEnum):
    """What a resume does where the stored diagram is another one than the run began with."""

    STRICT = "STRICT"
    FORCE = "FORCE"
    MIGRATE = "MIGRATE"


class ErrorCode(StrEnum):
    """What kind of refusal it is."""

    NOT_FOUND = "NOT_FOUND"
    INVALID = "INVALID"
    INVALID_STATE = "INVALID_STATE"
    STALE_REVISION = "STALE_REVISION"
    ALREADY_DECIDED = "ALREADY_DECIDED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    STORAGE_FULL = "STORAGE_FULL"
    UNAVAILABLE = "UNAVAILABLE"


class LogLevel(StrEnum):
    """How much a log line matters."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def describe(enum: type[E], description: str, members: Mapping[E, str]) -> None:
    """Give an enum to the schema; every member needs its sentence."""
    strawberry.enum(enum, description=description)
    assert has_enum_definition(enum)
    sentences = {member.name: text for member, text in members.items()}
    for value in enum.__strawberry_definition__.values:
        value.description = sentences[value.name]


describe(
    ExecutionStatus,
    "Where a whole run stands.",
    {
        ExecutionStatus.PENDING: "Accepted, waiting for a slot.",
        ExecutionStatus.STARTED: "Started, no node has run yet.",
        ExecutionStatus.RUNNING: "Something runs, or is ready to.",
        ExecutionStatus.PAUSED: "A pause or a limit holds it; its barriers can still be decided.",
        ExecutionStatus.WAITING: "Nothing runs; a person, a timer or a retry is outstanding.",
        ExecutionStatus.COMPLETED: "Ended: everything is settled and no failure is unhandled.",
        ExecutionStatus.FAILED: "Ended by a failure that nothing handled.",
        ExecutionStatus.ABORTED: "Ended by somebody.",
    },
)
describe(
    NodeExecutionStatus,
    "Where one node stands: the status of its last visit.",
    {
        NodeExecutionStatus.PENDING: "Not reached yet, or about to run again.",
        NodeExecutionStatus.RUNNING: "Its handler is at work.",
        NodeExecutionStatus.WAITING: "It waits for a person, a timer or a retry.",
        NodeExecutionStatus.COMPLETED: "Its last visit gave a result.",
        NodeExecutionStatus.FAILED: "Its last visit failed.",
        NodeExecutionStatus.SKIPPED: "It was never visited; `skipReason` says why.",
        NodeExecutionStatus.ABORTED: "It was stopped from outside.",
        NodeExecutionStatus.MAXITER_REACHED: (
            "It was reached once more than its limit allows and gave its last output again."
        ),
    },
)
describe(
    ContentType,
    "What the body of an envelope is.",
    {
        ContentType.RAW_TEXT: "Text.",
        ContentType.OBJECT: "An object or a list.",
        ContentType.CONVERSATION_STATE: "Messages of a conversation.",
        ContentType.GENERIC: "Any other JSON value.",
        ContentType.VARIABLE: "The value of an execution variable.",
        ContentType.BINARY: "Bytes in base64.",
        ContentType.EMPTY: "Nothing.",
        ContentType.ERROR: "An error in place of a result.",
    },
)
describe(
    EdgeKind,
    "When an edge is followed.",
    {
        EdgeKind.ALWAYS: "Whenever its port fires.",
        EdgeKind.WHEN: "If its condition holds.",
        EdgeKind.DEFAULT: "If no condition on an edge of that port held.",
        EdgeKind.FALLBACK: "Only after a failure.",
    },
)
describe(
    JoinPolicy,
    "How many inputs a node waits for.",
    {
        JoinPolicy.ALL: "All of them.",
        JoinPolicy.ANY: "Any one, with everything that has arrived by then.",
        JoinPolicy.FIRST: "The first one, and it alone.",
        JoinPolicy.K_OF_N: "A given number of them.",
    },
)
describe(
    FanOut,
    "Which of the edges that hold are followed.",
    {FanOut.ALL: "Every one.", FanOut.FIRST: "The first one that holds."},
)
describe(
    DiagramFormat,
    "In which format a document is written.",
    {
        DiagramFormat.NATIVE: "JSON with ids and handles.",
        DiagramFormat.LIGHT: "YAML with labels and connections.",
        DiagramFormat.READABLE: "YAML that reads as a list of steps.",
    },
)
describe(
    BarrierStatus,
    "How a barrier stands, or ended; the first committed decision wins.",
    {
        BarrierStatus.WAITING: "Nobody has decided yet.",
        BarrierStatus.APPROVED: "Somebody approved, or answered.",
        BarrierStatus.REJECTED: "Somebody rejected.",
        BarrierStatus.SKIPPED: "Somebody skipped it; that is no approval.",
        BarrierStatus.MODIFIED: "Somebody changed variables and let it pass.",
        BarrierStatus.REROUTED: "Somebody sent the run along another edge.",
        BarrierStatus.TIMED_OUT: "Nobody decided in time; the default action was taken.",
        BarrierStatus.CANCELLED: "The run ended before anybody decided.",
    },
)
describe(
    BarrierAction,
    "What can be decided at a barrier.",
    {
        BarrierAction.APPROVE: "Let it pass, with an answer where one is asked for.",
        BarrierAction.REJECT: "Do not let it pass.",
        BarrierAction.SKIP: "Go around what depends on it.",
        BarrierAction.MODIFY: "Change variables and let it pass.",
        BarrierAction.REROUTE: "Follow another edge.",
    },
)
describe(
    PauseMode,
    "What becomes of running nodes when a run is paused.",
    {
        PauseMode.DRAIN: "They finish; nothing new starts.",
        PauseMode.NOW: "They are stopped, and run again when the run is resumed.",
    },
)
describe(
    BreakpointWhen,
    "On which side of a node a breakpoint holds the run.",
    {
        BreakpointWhen.BEFORE: "Before the node starts.",
        BreakpointWhen.AFTER: "After the node has ended, before what depends on it starts.",
    },
)
describe(
    CheckpointTrigger,
    "What a checkpoint is taken for.",
    {
        CheckpointTrigger.ON_REQUEST: "Somebody asked for it: `saveCheckpoint`.",
        CheckpointTrigger.BARRIER_RESOLVED: "A barrier was decided, by whomever or by its timeout.",
        CheckpointTrigger.HUMAN_DECISION: "Somebody decided, steered the run or did it by hand.",
        CheckpointTrigger.ADAPTIVE: (
            "Enough would have to be done again: one for each millisecond and each token, 10,000 "
            "for a node with effects, and 100 are enough."
        ),
        CheckpointTrigger.EVERY_STEP: "A node has ended.",
        CheckpointTrigger.EXECUTION_COMPLETED: "The run is about to end, however.",
    },
)
describe(
    CheckpointFailurePolicy,
    "What a checkpoint that could not be taken does to its run.",
    {
        CheckpointFailurePolicy.CONTINUE: "Nothing: the log has everything.",
        CheckpointFailurePolicy.PAUSE: "It pauses; `resumeExecution` goes on without it.",
        CheckpointFailurePolicy.FAIL: (
            "It fails with CHECKPOINT_FAILED, as its `errorStrategy` has it for failures of nodes."
        ),
    },
)
describe(
    CheckpointPreset,
    "A usual choice of when checkpoints are taken; `saveCheckpoint` takes one with any of them.",
    {
        CheckpointPreset.CONSERVATIVE: "BARRIER_RESOLVED, HUMAN_DECISION and EXECUTION_COMPLETED.",
        CheckpointPreset.MINIMAL: "BARRIER_RESOLVED and EXECUTION_COMPLETED.",
        CheckpointPreset.MANUAL: "ON_REQUEST alone.",
    },
)
describe(
    GroupKind,
    "What holds states of an execution graph together.",
    {
        GroupKind.LOOP_TURN: "One turn of a loop.",
        GroupKind.SUB_DIAGRAM: "The run of a sub-diagram, for one visit of a node.",
        GroupKind.PARALLEL: "The branches that one visit of a node runs side by side.",
        GroupKind.BRANCH: "The run of one of these branches.",
    },
)
describe(
    ErrorStrategy,
    "What a failure that nothing handles does to the rest of the run.",
    {
        ErrorStrategy.FAIL_FAST: "Whatever runs is stopped, and the run fails.",
        ErrorStrategy.COLLECT: "Whatever is independent finishes, then the run fails.",
        ErrorStrategy.COLLECT_PARTIAL: (
            "Whatever is independent finishes, and the run completes with observed errors."
        ),
    },
)
describe(
    Durability,
    "What has to be on disk before a node starts. Effects of nodes, published events and answers "
    "wait for the disk in both.",
    {
        Durability.ADAPTIVE: (
            "A node of a pure type may start before the ends it rests on are on disk: after a "
            "crash it may run again."
        ),
        Durability.STRICT: "Every end of a node is on disk before a node that rests on it starts.",
    },
)
describe(
    AfterCrash,
    "What happens to a visit that was running when the server died.",
    {
        AfterCrash.RERUN: "It runs again.",
        AfterCrash.ASK: "A person is asked.",
        AfterCrash.FAIL: "It fails.",
    },
)
describe(
    Severity,
    "How bad a problem of a diagram is.",
    {
        Severity.ERROR: "It keeps the diagram from running.",
        Severity.WARNING: "The diagram runs, perhaps not as meant.",
    },
)
describe(
    ExecutionAction,
    "What can be done to an execution in its present status.",
    {
        ExecutionAction.PAUSE: "`pauseExecution`: let nothing new start.",
        ExecutionAction.RESUME: "`resumeExecution`: go on after a pause.",
        ExecutionAction.STEP: "`stepExecution`: let one ready node run.",
        ExecutionAction.ABORT: "`abortExecution`: end it.",
        ExecutionAction.FORK: "`forkExecution`: go on from an earlier point as another run.",
        ExecutionAction.RETRY_NODE: "`retryNode`: run a failed node again.",
        ExecutionAction.SKIP_NODE: "`skipNode`: do not run a node.",
        ExecutionAction.SET_OUTPUT: "`setNodeOutput`: give a node's result by hand.",
        ExecutionAction.MUTATE: "`mutateGraph`: change its graph.",
    },
)
describe(
    RevisionPolicy,
    "What a resume does where the stored diagram is another one than the run began with.",
    {
        RevisionPolicy.STRICT: "It is refused.",
        RevisionPolicy.FORCE: "The run goes on with the graph that it has.",
        RevisionPolicy.MIGRATE: "The run goes on with the newest revision, as with `mutateGraph`.",
    },
)
describe(
    ErrorCode,
    "What kind of refusal it is; for programs.",
    {
        ErrorCode.NOT_FOUND: "There is nothing with that id.",
        ErrorCode.INVALID: "An argument is wrong.",
        ErrorCode.INVALID_STATE: "What it is about is in a state in which this cannot be done.",
        ErrorCode.STALE_REVISION: "The diagram has moved on since its author read it.",
        ErrorCode.ALREADY_DECIDED: "Another decision was committed first.",
        ErrorCode.LIMIT_EXCEEDED: "A limit of the server or of the run would be exceeded.",
        ErrorCode.IDEMPOTENCY_MISMATCH: "The key was used before with other arguments.",
        ErrorCode.STORAGE_FULL: "The disk is full; nothing was changed.",
        ErrorCode.UNAVAILABLE: "The server cannot do this now; nothing was changed.",
    },
)
describe(
    LogLevel,
    "How much a log line matters.",
    {
        LogLevel.DEBUG: "Detail for finding faults.",
        LogLevel.INFO: "What happens.",
        LogLevel.WARNING: "Something to look at.",
        LogLevel.ERROR: "Something went wrong.",
    },
)
