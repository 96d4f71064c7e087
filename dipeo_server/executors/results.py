"""What a run of an AsyncGraphExecutor gave, node by node, and how a later run goes on from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from dipeo_server.domains.execution.events import Failure, GivenOutput
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.domains.execution.tokens import SkipReason
from dipeo_server.errors import DipeoError, InvalidInput, NotFound
from dipeo_server.executors.functions import START
from dipeo_server.runtime.bodies import Bodies
from dipeo_server.runtime.history import read_all


@dataclass(frozen=True, slots=True)
class NodeResult:
    """How one node ended: its status, what it gave, and what its result rests on.

    `error` has the code and message of a failure; `skip_reason` says why it was skipped.
    """

    status: NodeExecutionStatus
    output: Any = None
    error: Mapping[str, Any] | None = None
    skip_reason: str | None = None
    fingerprint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives an equal result back."""
        return {
            "status": self.status.value,
            "output": self.output,
            "error": None if self.error is None else dict(self.error),
            "skip_reason": self.skip_reason,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The result that `to_dict` wrote. Raises InvalidInput for an unknown status."""
        written = document.get("status")
        try:
            status = NodeExecutionStatus(str(written))
        except ValueError:
            known = ", ".join(NodeExecutionStatus)
            message = f"{written!r} is no status of a node."
            raise InvalidInput(message, hint=f"Statuses: {known}.") from None
        return cls(
            status,
            document.get("output"),
            document.get("error"),
            document.get("skip_reason"),
            document.get("fingerprint"),
        )


class RunFailed(DipeoError):
    """A run did not complete; `results` has what it gave all the same."""

    def __init__(self, results: RunResults, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.results = results


class RunResults(Mapping[str, NodeResult]):
    """The results of all nodes, by key, with how the whole run ended."""

    def __init__(
        self,
        thread_id: str,
        status: ExecutionStatus,
        nodes: Mapping[str, NodeResult],
        error: Mapping[str, Any] | None = None,
    ) -> None:
        self.thread_id = thread_id
        self.status = status
        self.error = error
        self._nodes = dict(nodes)

    def __getitem__(self, node: str) -> NodeResult:
        return self._nodes[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        nodes = ", ".join(f"{key}: {each.status}" for key, each in self._nodes.items())
        return f"<RunResults {self.status}: {nodes}>"

    @property
    def outputs(self) -> dict[str, Any]:
        """What each completed node gave."""
        completed = NodeExecutionStatus.COMPLETED
        return {key: each.output for key, each in self._nodes.items() if each.status is completed}

    def raise_for_failure(self) -> Self:
        """Itself, if the run completed. Raises RunFailed."""
        if self.status is ExecutionStatus.COMPLETED:
            return self
        error = self.error or {}
        message = error.get("message") or f"The run ended {self.status}."
        raise RunFailed(self, error.get("code", self.status.value), message)

    def to_dict(self) -> dict[str, Any]:
        """The nodes' results as JSON, to be given as `initial_state` some other day."""
        return {key: each.to_dict() for key, each in self._nodes.items()}


async def results_of(found: ExecutionView, store: StateStore) -> RunResults:
    """The results of a run as far as it has come. Raises StorageError."""
    bodies = Bodies(store.blobs)
    nodes: dict[str, NodeResult] = {}
    skip_branch = SkipReason.SKIP_BRANCH
    for node, state in zip(found.diagram.nodes, found.nodes, strict=True):
        if node.key == START:
            continue
        envelope = None if state.output is None else await bodies.loaded(state.output)
        nodes[node.key] = NodeResult(
            state.status,
            None if envelope is None else envelope.body,
            told_failure(state.failure),
            skip_branch if envelope and envelope.meta.get(skip_branch) else state.skip_reason,
            node_fingerprint(found.diagram, node),
        )
    return RunResults(found.id, found.status, nodes, told_failure(found.error))


async def stored_results(store: StateStore, thread_id: str) -> RunResults:
    """What a run left in a store, ended or not: the initial state of one that goes on.

    Raises NotFound, StorageError.
    """
    history = await read_all(store, ExecutionID(thread_id))
    if not history:
        raise NotFound(f"There is no run {thread_id!r} in this store.")
    return await results_of(view(ExecutionMachine.replay(history).state), store)


def told_failure(failure: Failure | None) -> dict[str, Any] | None:
    """A failure as programs read it: code, message, node, hint."""
    if failure is None:
        return None
    told = {"code": failure.code, "message": failure.message, "node": failure.node}
    return told if failure.hint is None else {**told, "hint": failure.hint}


def given_outputs(
    initial: Mapping[str, NodeResult | GivenOutput | Mapping[str, Any]],
    diagram: ExecutableDiagram,
) -> tuple[dict[str, GivenOutput], dict[str, str]]:
    """What is taken from an earlier run, and why the rest of it is not, both by node.

    Raises InvalidInput for what is no result.
    """
    taken: dict[str, GivenOutput] = {}
    left: dict[str, str] = {}
    for key, value in initial.items():
        match value:
            case GivenOutput():
                taken[key] = value
                continue
            case NodeResult() as result:
                pass
            case Mapping() if "status" in value:
                result = NodeResult.from_dict(value)
            case _:
                message = f"The initial state of {key!r} is no result of a node."
                hint = "Give what execute() gave, or GivenOutput(value) to take a value as it is."
                raise InvalidInput(message, field=("initial_state", key), hint=hint)
        why = _why_not(key, result, diagram)
        if why is None:
            taken[key] = GivenOutput(result.output, result.fingerprint)
        else:
            left[key] = why
    return taken, left


def _why_not(key: str, result: NodeResult, diagram: ExecutableDiagram) -> str | None:
    if key not in diagram.index_of:
        return f"{key!r} is not in the graph any more."
    if result.status is not NodeExecutionStatus.COMPLETED or result.skip_reason:
        was = result.skip_reason or result.status
        return f"{key!r} runs again: it was {was} in the earlier run."
    if diagram.get_node(key).branches:
        return f"{key!r} runs again: it chooses the way, which its result does not tell."
    return None
