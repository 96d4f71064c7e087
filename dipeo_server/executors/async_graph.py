"""AsyncGraphExecutor: a graph of {nodes, edges} whose nodes run as soon as their parents have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.execution.checkpoint import CheckpointFailurePolicy
from dipeo_server.domains.execution.events import ErrorStrategy, GivenOutput, PauseCause
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.machine.checkpoints import FAILED_CODE
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.runner import StartExecution
from dipeo_server.errors import InvalidInput, InvalidState
from dipeo_server.executors.functions import NodeFunction, as_node_type
from dipeo_server.executors.handle import RunHandle
from dipeo_server.executors.hosting import Hosting
from dipeo_server.executors.keeping import Policy, policy_for, settings_of
from dipeo_server.executors.live import LiveRun
from dipeo_server.executors.results import NodeResult, RunResults, given_outputs, results_of
from dipeo_server.executors.secret_values import Secrets
from dipeo_server.executors.telling import EmitEvent, Teller
from dipeo_server.executors.workflow import compile_workflow
from dipeo_server.node_types import node_types_with
from dipeo_server.runtime.identity import new_execution_id
from dipeo_server.storage.memory import MemoryStore

log = structlog.get_logger(__name__)

THREAD_ID_CHARACTERS_MAX: Final = 200


class AsyncGraphExecutor:
    """Runs a graph once: independent nodes side by side, each as soon as its parents are done.

    `workflow_data` is `{"nodes": [{id, type?, data?, …}], "edges": [{source, target, …}]}`. A node
    runs the async function that `handlers` has for its id or for its type, else it is of a
    registered type. Where no node is of type `start`, nodes that have children and no parents
    begin; nodes without any edge run only with `run_orphans`, and are SKIPPED otherwise.

    `emit_event` is called with each event, a plain map, while the run goes on; it may be async, and
    may be slow or fail without any harm to the run. The `global_context` is for secrets: functions
    read them in `call.secrets`, and they are kept nowhere; `variables` are for everything else.
    `initial_state` has results of an earlier run: what was completed and has not changed since is
    not run again. A `store` keeps the run; without one it is forgotten with the executor. `policy`
    says when its state is kept: a preset or triggers, None = CONSERVATIVE, and none in memory;
    `checkpoint_failure` what becomes of the run where it cannot be kept.
    """

    def __init__(  # noqa: PLR0913 - every option but the graph is keyword-only.
        self,
        workflow_data: Mapping[str, Any],
        *,
        emit_event: EmitEvent | None = None,
        thread_id: str | None = None,
        global_context: Mapping[str, Any] | None = None,
        initial_state: Mapping[str, NodeResult | GivenOutput | Mapping[str, Any]] | None = None,
        handlers: Mapping[str, NodeFunction] | None = None,
        variables: Mapping[str, Any] | None = None,
        error_strategy: ErrorStrategy = ErrorStrategy.COLLECT,
        max_steps: int | None = None,
        run_orphans: bool = False,
        store: StateStore | None = None,
        policy: Policy = None,
        checkpoint_failure: CheckpointFailurePolicy | str = CheckpointFailurePolicy.CONTINUE,
        base_dir: Path | str = ".",
        emit_patience: float = 5.0,
    ) -> None:
        """`emit_patience`: seconds that a slow `emit_event` has to catch up after the run's end.

        Raises DiagramInvalid with every problem of the graph, InvalidInput.
        """
        self.thread_id = _checked_id(thread_id)
        secrets = Secrets(global_context or {})
        functions = dict(handlers or {})
        registry = node_types_with(
            as_node_type(name, functions[name], secrets) for name in functions
        )
        compiled = compile_workflow(
            workflow_data, registry.specs, functions, run_orphans=run_orphans
        )
        self.warnings: tuple[DiagramProblem, ...] = compiled.warnings
        initial, self._notes = given_outputs(initial_state or {}, compiled.diagram)
        self._hosting = Hosting(
            registry, store or MemoryStore(), Path(base_dir), secrets=secrets.texts
        )
        self._request = StartExecution(
            compiled.diagram,
            dict(variables or {}),
            max_steps=max_steps,
            error_strategy=error_strategy,
            execution_id=self.thread_id,
            initial=initial,
            checkpoints=policy_for(policy, self._hosting.store),
            checkpointing=settings_of(checkpoint_failure),
        )
        self._emit = emit_event
        self._patience = emit_patience
        self._run: LiveRun | None = None

    @property
    def handle(self) -> RunHandle:
        """Decides, pauses, cancels while `execute` waits. Raises InvalidState before that."""
        if self._run is None:
            raise InvalidState("The run has not begun.", hint="Call execute() first.")
        return RunHandle(self._run)

    async def execute(self) -> RunResults:
        """Run the graph to its end: the results of all nodes, whether or not it failed.

        A run that reaches one of its limits is ended. Cancelling this aborts the run. Raises
        AlreadyRunning, InvalidState, StorageError.
        """
        run = self._run = await LiveRun.begun(self._hosting, self._request)
        telling = None
        if self._emit is not None:
            teller = Teller(self._emit, run)
            telling = asyncio.create_task(teller.tell(self._notes), name="executor-teller")
        try:
            found, limit = await run.ended_within_limits()
        except asyncio.CancelledError:
            await run.stop("execute() was cancelled")
            raise
        finally:
            if telling is not None:
                await self._finish(telling)
        results = await results_of(found, self._hosting.store)
        if limit is not None:
            code, message = limit.name, f"The run reached its limit and was ended: {limit}."
            if limit is PauseCause.CHECKPOINT:
                code, message = FAILED_CODE, "The run was ended: no checkpoint could be taken."
            results.error = {"code": code, "message": message, "node": None}
        return results

    async def _finish(self, telling: asyncio.Task[None]) -> None:
        """Let whoever is told catch up, for a while."""
        await asyncio.wait({telling}, timeout=self._patience)
        if telling.cancel():
            log.warning("emit_event_too_slow", thread_id=self.thread_id)
        await asyncio.gather(telling, return_exceptions=True)


def _checked_id(thread_id: str | None) -> ExecutionID:
    if thread_id is None:
        return new_execution_id()
    if not thread_id or len(thread_id) > THREAD_ID_CHARACTERS_MAX:
        message = f"A thread_id has 1 to {THREAD_ID_CHARACTERS_MAX} characters."
        raise InvalidInput(message, field=("thread_id",))
    return ExecutionID(thread_id)
