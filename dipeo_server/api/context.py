"""What a resolver may reach: the services of the server, and what one operation has loaded."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import strawberry
import structlog
from opentelemetry.trace import Tracer
from pydantic import ConfigDict

from dipeo_server.api.history import History, fold
from dipeo_server.api.json_dialect import canonical
from dipeo_server.api.metrics import ApiMetrics
from dipeo_server.api.places import Places
from dipeo_server.domains.access.audit import Attempt
from dipeo_server.domains.access.ports import Access
from dipeo_server.domains.access.principal import ANYBODY, Principal
from dipeo_server.domains.access.roles import Permission
from dipeo_server.domains.diagram.rendering.renderer import Renderer
from dipeo_server.domains.diagram.rules.view import CheckExpression
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.diagram_store import DiagramLibrary, StoredRevision
from dipeo_server.domains.execution.events import Recorded
from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, Seq
from dipeo_server.domains.execution.runner import Runner
from dipeo_server.domains.execution.state import ExecutionView
from dipeo_server.errors import DipeoError, Forbidden, LimitExceeded, Unauthenticated

K = TypeVar("K")
T = TypeVar("T")

PAGE_EVENTS: Final = 1_000
ATTEMPT_CHARACTERS_MAX: Final = 500

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What one request may ask for; sizes in bytes, times in seconds."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    depth: int = 12
    aliases: int = 30
    directives: int = 50
    tokens: int = 2_000
    document_characters: int = 100_000
    field_pairs: int = 20_000
    persisted_documents: int = 1_000
    persisted_characters: int = 65_536
    cost: int = 5_000
    fields: int = 1_000
    root_fields: int = 20
    mutations: int = 10
    pictures: int = 20
    past_events: int = 500_000
    graph_states: int = 10_000
    graph_runs: int = 200
    body_bytes: int = 1024 * 1024
    head_seconds: int = 10
    body_seconds: float = 10.0
    operation_seconds: float = 30.0
    mutations_per_second: int = 50
    starts_per_second: int = 10
    failed_authentications_per_minute: int = 5
    sockets: int = 2_000
    subscriptions: int = 2_000
    subscriptions_per_principal: int = 200
    socket_operations: int = 100
    socket_init_seconds: float = 5.0
    socket_send_seconds: float = 10.0
    socket_ping_seconds: float = 15.0
    event_streams: int = 1_000
    event_stream_keep_alive_seconds: float = 12.0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What `serverInfo` tells about this server."""

    version: str
    isolation: str
    store: str
    runner: str = "local"
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything the API needs of the other rooms.

    `access` knows tokens; None = nobody is asked for one. Who started a run may decide its barriers
    if `lets_starters_approve`. `allowed_origins`: pages that may talk to it, beside its own.
    `monotonic` counts seconds.

    `now` gives the time, aware. `allowed_hosts`: names that the Host header may have, without
    port; None = any. `is_ready` tells whether executions are being served, `storage_problem` why
    no event can be stored. `trusted_documents`: the only ones that may be run, by their ids; None =
    any. `closing` is set when the server stops, so that streams end. `tracer` makes a span of each
    request; None where nobody takes spans.
    """

    runner: Runner
    library: DiagramLibrary
    specs: Mapping[str, NodeSpec]
    facts: ServerFacts
    renderer: Renderer
    now: Callable[[], datetime]
    check_expression: CheckExpression | None = None
    limits: ApiLimits = field(default_factory=ApiLimits)
    allowed_hosts: frozenset[str] | None = None
    allowed_origins: frozenset[str] = frozenset()
    access: Access | None = None
    lets_starters_approve: bool = True
    monotonic: Callable[[], float] = time.monotonic
    is_ready: Callable[[], bool] = lambda: True
    storage_problem: Callable[[], DipeoError | None] = lambda: None
    trusted_documents: Mapping[str, str] | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: ApiMetrics = field(default_factory=ApiMetrics)
    tracer: Tracer | None = None


class OncePerKey(Generic[K, T]):
    """Loads each thing at most once for one operation, however many resolvers ask."""

    def __init__(self, load: Callable[[K], Coroutine[Any, Any, T]]) -> None:
        self._load = load
        self._loads: dict[K, asyncio.Task[T]] = {}

    async def load(self, key: K) -> T:
        """The thing of that key."""
        task = self._loads.get(key)
        if task is None:
            task = self._loads[key] = asyncio.create_task(self._load(key))
        return await asyncio.shield(task)

    def forget(self, key: K) -> None:
        """Load it anew when somebody asks next."""
        self._loads.pop(key, None)

    def forget_all(self) -> None:
        """Load everything anew."""
        self._loads.clear()


def new_request_id() -> str:
    """The id of the request or socket that is being served; a fresh one where none is."""
    current = structlog.contextvars.get_contextvars().get("request_id")
    return current if isinstance(current, str) else f"req_{secrets.token_hex(8)}"


@dataclass(slots=True)
class Connection:
    """What lasts as long as a request or a socket.

    `identity`: whoever has proved to be at the other end; None = nobody yet.
    `places`: how far each run that is followed has been told. `position`: the event that is being
    told; `resume_after`: the last one that the client has seen, where it does not say so in the
    operation.
    """

    services: ApiServices
    identity: Principal | None = None
    places: Places = field(default_factory=Places)
    position: Seq = Seq(0)
    resume_after: Seq = Seq(0)
    connection_params: dict[str, Any] | None = None
    request_id: str = field(default_factory=new_request_id)

    def known(self) -> Principal:
        """Whoever is at the other end. Raises Unauthenticated where a token is asked for."""
        access = self.services.access
        if access is None:
            return self.identity or ANYBODY
        token_id = None if self.identity is None else self.identity.token_id
        if self.identity is None or token_id is None or not access.is_valid(token_id):
            raise Unauthenticated("There is no valid token for this connection.")
        return self.identity


class OperationContext:
    """One operation's view of the server; made anew for each, also on a socket.

    `operation_name` is the one that the client gave, if it did; `pictures` counts what it drew,
    `past_events` what it read to look back; `histories` are by run and last sequence.
    """

    def __init__(
        self,
        connection: Connection,
        schema_hash: Callable[[], str],
        operation_name: str | None = None,
    ) -> None:
        self.connection = connection
        self.schema_hash = schema_hash
        self.operation_name = operation_name
        self.services = connection.services
        self.runner = connection.services.runner
        self.library = connection.services.library
        self.identity = connection.known()
        self.principal = self.identity.name
        self._notes: list[Awaitable[None]] = []
        self.pictures = 0
        self.past_events = 0
        self.views = OncePerKey(self.runner.view)
        self.histories = OncePerKey(self._history)
        self.diagrams = OncePerKey(self.library.find)
        self.revisions = OncePerKey(self._revision)

    def attempt(self, operation: str, target: str | None = None, key: str | None = None) -> Attempt:
        """What whoever asks tries to do, as the audit tells it; what is too long is cut."""
        who, request_id = self.identity, self.connection.request_id
        return Attempt(who.name, who.token_id, operation, request_id, _cut(target), _cut(key))

    def require(self, permission: Permission, what: str) -> None:
        """Raises Forbidden where whoever asks has not the permission that `what` needs."""
        if not self.identity.may(permission):
            raise forbidden(self.identity, permission, what)

    async def note(self, attempt: Attempt, outcome: str) -> None:
        """Write down what came of an attempt; nothing where nobody is asked who they are."""
        self.note_later(attempt, outcome)
        await self.noted()

    def note_later(self, attempt: Attempt, outcome: str) -> None:
        """Write down what came of an attempt; `noted` waits for it."""
        if self.services.access is not None and self.identity.is_known:
            self._notes.append(self.services.access.note(attempt, outcome))

    async def noted(self) -> None:
        """Wait until all that was written down is durable. An answer does not fail by it."""
        notes, self._notes = self._notes, []
        for noting in notes:
            try:
                await noting
            except DipeoError as error:
                log.warning("audit_not_written", code=error.code, error=error.message)

    def begin_anew(self) -> None:
        """Forget what was loaded and spent: each item of a subscription is an answer of its own."""
        self.pictures = self.past_events = 0
        for loads in (self.views, self.histories, self.diagrams, self.revisions):
            loads.forget_all()

    def spend_events(self, count: int) -> None:
        """Note that a resolver reads so many events for what was; any one log may be read.

        Raises LimitExceeded.
        """
        limit = self.services.limits.past_events
        if self.past_events and self.past_events + count > limit:
            message = f"An operation may read at most {limit} events to look back."
            raise LimitExceeded(message, hint="Ask for less of the past at once.")
        self.past_events += count

    async def fresh_view(self, execution_id: ExecutionID) -> ExecutionView | None:
        """The execution behind what this operation has just changed."""
        self.views.forget(execution_id)
        return await self.views.load(execution_id)

    async def _revision(self, key: tuple[DiagramID, int]) -> StoredRevision | None:
        return await self.library.revision(*key)

    async def _history(self, moment: tuple[ExecutionID, Seq]) -> History:
        """The folded log of a run, up to the state that is shown."""
        return fold(await read_log(self.runner, *moment))


def _cut(text: str | None) -> str | None:
    """What a client has chosen, whatever it is, in at most ATTEMPT_CHARACTERS_MAX characters."""
    if text is None or len(text) <= ATTEMPT_CHARACTERS_MAX:
        return text
    return f"{text[: ATTEMPT_CHARACTERS_MAX - 1]}…"


def forbidden(who: Principal, permission: Permission, what: str) -> Forbidden:
    """The refusal of what somebody may not do; tells what is needed, and what there is."""
    has = f"{who.name!r} has the role {who.role}"
    has += ", as an approver" if who.is_approver else ""
    hint = "An admin makes tokens: `dipeo-server tokens create`."
    return Forbidden(f"{what} needs {permission}; {has}.", hint=hint)


async def read_log(
    runner: Runner, execution_id: ExecutionID, upto: Seq, after: Seq = Seq(0)
) -> list[Recorded]:
    """The events behind `after` up to `upto`, which is included."""
    found: list[Recorded] = []
    while after < upto:
        limit = min(PAGE_EVENTS, upto - after)
        page = await runner.read_events(execution_id, after=after, limit=limit)
        if not page:
            break
        found.extend(page)
        after = page[-1].seq
    return found


Info: TypeAlias = strawberry.Info[OperationContext, None]


def request_hash(mutation: str, arguments: Mapping[str, object]) -> str:
    """The same for the same mutation with the same arguments."""
    return hashlib.blake2b(canonical([mutation, arguments]), digest_size=16).hexdigest()
