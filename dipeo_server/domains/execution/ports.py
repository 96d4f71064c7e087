"""What the engine and its handlers need from outside: every port in one place, as protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from dipeo_server.domains.access.audit import AuditEntry
from dipeo_server.domains.execution.blobs import Blobs
from dipeo_server.domains.execution.checkpoint import TakenCheckpoint
from dipeo_server.domains.execution.checkpoint_store import CheckpointChoice, CheckpointStore
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import ExecutionID, NodeRun, Seq
from dipeo_server.domains.execution.output import TokenUsage
from dipeo_server.domains.execution.secret_references import SecretText
from dipeo_server.domains.execution.status import ExecutionStatus

# --- what handlers use -------------------------------------------------------------------------


class Clock(Protocol):
    """Wall time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        ...


class Files(Protocol):
    """The one way to files: paths are relative to the base directory and never leave it.

    Every method raises PathDenied for a path that would leave it (absolute paths outside, `..`,
    symbolic links) and FileMissing where a file to read is absent.
    """

    async def read_text(self, path: str) -> str:
        """UTF-8 text of one file. Raises OutputTooLarge beyond the size limit."""
        ...

    async def write_text(self, path: str, text: str, *, append: bool = False) -> str:
        """Write atomically (or append); makes folders. Gives the path relative to the base."""
        ...

    async def exists(self, path: str) -> bool:
        """Is there a regular file?"""
        ...

    async def glob(self, pattern: str) -> list[str]:
        """Files that match, sorted, relative to the base directory; `**` is recursive."""
        ...


LineSink = Callable[[str, str], None]
"""Takes (stream, line) as a process prints: stream is "stdout" or "stderr", no newline."""


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """How a child process is run; `timeout` in seconds, `environment` in addition to the usual.

    `tty`: on a terminal, whose one stream is stdout; `stdin` is what it reads. `ansi`: what becomes
    of colours in its lines.
    """

    timeout: float
    environment: Mapping[str, SecretText] = field(default_factory=dict)
    stdin: SecretText | None = None
    tty: bool = False
    ansi: Literal["strip", "keep"] = "strip"


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """User code for a child process. Either `code` or `file_path` is set.

    `inputs` by name (JSON values); `function_name` is the function that is called where the code
    defines it; `variables` may hold secrets.
    """

    language: Literal["python", "bash"]
    code: str | None
    file_path: str | None
    function_name: str
    inputs: Mapping[str, Any]
    options: ProcessOptions
    node_id: str
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A program and its arguments, never through a shell; `cwd` is below the base directory.

    Inputs come as DIPEO_INPUT_<NAME>, each as JSON.
    """

    command: Sequence[str]
    options: ProcessOptions
    inputs: Mapping[str, Any] = field(default_factory=dict)
    cwd: str | None = None


class CodeRunner(Protocol):
    """Runs user code in child processes, of which nothing is left when they end or are ended."""

    @property
    def isolation(self) -> str:
        """What holds the code in: "process" for now (shown in serverInfo.isolation)."""
        ...

    async def run(self, request: CodeRequest, on_line: LineSink) -> Any:
        """The code's result as a JSON value.

        Raises CodeError (the traceback's last lines in the message), NodeTimeout, OutputTooLarge,
        FileMissing, PathDenied. Cancelling it kills everything that the code has started.
        """
        ...

    async def run_command(self, request: CommandRequest, on_line: LineSink) -> str:
        """What the command printed to stdout, without spaces around. Raises as `run` does."""
        ...


class Secrets(Protocol):
    """What references stand for, for one run; values are for use outside and never for results."""

    async def fill(self, text: str) -> SecretText:
        """The text of a node's props with every `secret://name` in it replaced.

        Raises SecretMissing.
        """
        ...

    async def fill_variables(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The run's variables with their values where its start gave references.

        What looks like a reference and came later stays as it is. Raises SecretMissing,
        StorageError.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a model request."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of a language model; None means: the model's own default."""

    service: str
    model: str
    messages: tuple[ChatMessage, ...]
    api_key_id: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    json_schema: Mapping[str, Any] | None = None
    schema_name: str = "output"


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a model answered; `usage` None where the service told none."""

    text: str
    model: str
    usage: TokenUsage | None = None


class LanguageModels(Protocol):
    """Chat completion by service name."""

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One reply. Streams to `on_token` where given.

        Raises ModelNotConfigured, ModelError (retryable where a retry may help).
        """
        ...


# --- what the runner uses ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A mutation's key, committed with its events: same key and request, same answer.

    `entry`: what the audit tells of it; its target is what was changed, where it names none.
    """

    principal: str
    key: str
    mutation: str
    request_hash: str
    expires_at: datetime
    entry: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """What the mutation with that key was answered."""

    request_hash: str
    mutation: str
    execution_id: ExecutionID
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeyedAnswer:
    """An idempotency record to commit together with events."""

    idempotency: Idempotency
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """The one row per execution, written in the transaction of its events.

    A fork has the events of `fork_of` up to `forked_at`, and its own behind them.
    """

    id: ExecutionID
    status: ExecutionStatus
    last_seq: Seq
    name: str | None = None
    diagram_id: str | None = None
    content_hash: str | None = None
    parent_id: ExecutionID | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    token_usage: TokenUsage = field(default_factory=TokenUsage)
    error: Mapping[str, Any] | None = None
    waiting_barriers: int = 0
    fork_of: ExecutionID | None = None
    forked_at: Seq | None = None


@dataclass(frozen=True, slots=True)
class ExecutionQuery:
    """A filter and a page of the executions list; newest first.

    `after` and `before` are cursors: an execution id of the list. `parent_id` selects what was
    begun by visits of a run, and what was forked from it; `fork_of` only the latter, also where it
    is the child of another run.
    """

    statuses: frozenset[ExecutionStatus] | None = None
    diagram_id: str | None = None
    parent_id: ExecutionID | None = None
    fork_of: ExecutionID | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    is_active: bool | None = None
    has_waiting_barriers: bool | None = None
    first: int = 20
    after: ExecutionID | None = None
    last: int | None = None
    before: ExecutionID | None = None


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """One page of summaries (newest first) with what lies around it."""

    items: tuple[ExecutionSummary, ...]
    has_next: bool
    has_previous: bool
    total: int


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line a node printed: telemetry, not a fact; never folded."""

    node_run: NodeRun
    stream: str
    level: str
    text: str
    at: datetime
    cursor: int = 0


class StateStore(Protocol):
    """The event log and what is indexed beside it.

    Only `append`, `read` and `blobs` are needed for correctness: everything else is a cache or an
    index.
    """

    @property
    def blobs(self) -> Blobs:
        """Where large bodies are kept, which events refer to."""
        ...

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where states are kept, beside the log that they follow from."""
        ...

    async def append(
        self,
        execution_id: ExecutionID,
        events: Sequence[Recorded],
        *,
        after: Seq,
        summary: ExecutionSummary,
        answers: Sequence[KeyedAnswer] = (),
        checkpoints: Sequence[TakenCheckpoint] = (),
    ) -> None:
        """Commit everything that is given together; returns when durable.

        Where the summary names an origin and `after` is where that is left, a fork begins: it is
        read with the origin's events up to there, which are kept as long as it is.
        Raises ConcurrentAppend if `after` is not the log's tail, IdempotencyMismatch if one of the
        keys is already stored, StorageFull, StorageError; then nothing was committed.
        """
        ...

    async def read(
        self, execution_id: ExecutionID, *, after: Seq = Seq(0), limit: int = 256
    ) -> Sequence[Recorded]:
        """At most `limit` committed events behind `after`, ascending; empty if there are none."""
        ...

    async def summary(self, execution_id: ExecutionID) -> ExecutionSummary | None:
        """The execution's row, or None."""
        ...

    async def list_executions(self, query: ExecutionQuery) -> ExecutionPage:
        """A page of the list, newest first."""
        ...

    async def active(self) -> Sequence[ExecutionID]:
        """Ids of all executions that have not ended, oldest first (an index)."""
        ...

    async def find_answer(
        self, principal: str, key: str, *, now: datetime
    ) -> IdempotentAnswer | None:
        """The stored answer of that key, unless it has expired."""
        ...

    async def delete(
        self, execution_id: ExecutionID, *, now: datetime, answer: KeyedAnswer | None = None
    ) -> Sequence[ExecutionID]:
        """Forget an execution that has ended and all that ran below it; gives who is gone.

        Keys of their mutations stay until they expire, and blobs until the store is pruned. Raises
        NotFound, InvalidState, IdempotencyMismatch if the answer's key is in use; then nothing was.
        """
        ...

    async def delete_checkpoints(
        self,
        execution_id: ExecutionID,
        choice: CheckpointChoice,
        *,
        now: datetime,
        answer: KeyedAnswer | None = None,
    ) -> int:
        """Forget checkpoints; gives how many, which is kept in the answer as `deleted`.

        Raises IdempotencyMismatch if the answer's key is in use; then none was.
        """
        ...

    async def append_logs(self, execution_id: ExecutionID, lines: Sequence[LogRecord]) -> None:
        """Store log lines (their `cursor` is given here); not durable before the next commit."""
        ...

    async def read_logs(
        self,
        execution_id: ExecutionID,
        *,
        after: int = 0,
        limit: int = 100,
        node: str | None = None,
    ) -> Sequence[LogRecord]:
        """Log lines behind the cursor `after`, ascending."""
        ...

    async def close(self) -> None:
        """Finish what is queued, then release everything."""
        ...
