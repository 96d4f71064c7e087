"""Executions from the store: folded from their logs, or from the newest checkpoint on.

A checkpoint is only a short cut. One that is damaged, or of another version, is ignored, and the
log is folded as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.checkpoint import Checkpoint
from dipeo_server.domains.execution.events import (
    CheckpointSaved,
    DiagramMutated,
    ExecutionStarted,
    NodeCompleted,
    NodeFailed,
    NodeOutputSet,
    NodeReported,
    Recorded,
)
from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.domains.execution.machine.machine import ExecutionMachine
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.snapshot import Document, document_of, places
from dipeo_server.errors import DamagedCheckpoint, StorageError
from dipeo_server.runtime.history import PAGE_EVENTS, RETRY_SECONDS, TRIES_MAX

log = structlog.get_logger(__name__)

GAP_MAX: Final = 32
"""Events between two that are wanted, up to which all of them are read at once."""


async def load(
    store: StateStore,
    execution_id: ExecutionID,
    *,
    upto: Seq | None = None,
    page: int = PAGE_EVENTS,
) -> ExecutionMachine:
    """The machine behind the log, or behind its event `upto`; one that has not started for none.

    Logs of one page are folded as they are: a checkpoint would save nothing. Raises StorageError.
    """
    size = page if upto is None else min(page, upto)
    first = await store.read(execution_id, limit=size) if size > 0 else ()
    machine = None
    if len(first) == page:
        machine = await _restored(store, execution_id, first, upto)
    if machine is None:
        machine = ExecutionMachine.replay(first)
    while upto is None or machine.last_seq < upto:
        size = page if upto is None else min(page, upto - machine.last_seq)
        more = await store.read(execution_id, after=machine.last_seq, limit=size)
        if not more:
            break
        if upto is None:
            machine.fold(more)
        else:  # Who looks back holds up nobody else.
            await asyncio.to_thread(machine.fold, more)
    return machine


async def load_patiently(store: StateStore, execution_id: ExecutionID) -> ExecutionMachine:
    """As `load`, tried again for a while where that may help. Raises StorageError."""
    for _ in range(TRIES_MAX - 1):
        try:
            return await load(store, execution_id)
        except StorageError as error:
            if error.is_lasting:
                raise
        await asyncio.sleep(RETRY_SECONDS)
    return await load(store, execution_id)


async def _restored(
    store: StateStore, execution_id: ExecutionID, first: Sequence[Recorded], upto: Seq | None
) -> ExecutionMachine | None:
    """The machine behind the newest checkpoint, if that lies behind the first events."""
    try:
        stored = await store.checkpoints.load(execution_id, upto=upto)
        if stored is None or stored.checkpoint.at <= len(first):
            return None
        known = stored.checkpoint
        document = document_of(stored.parts, known.content_hash)
        diagram = await _diagram_of(store, execution_id, first[0], document)
        if known.graph_hash != diagram.content_hash:
            raise DamagedCheckpoint("A checkpoint is of another diagram.")
        await _check_told(store, known)
        wanted = _stretches(places(document))
        if sum(len(stretch) for stretch in wanted) > known.at // 2:
            return None  # To look so much up takes no less time than to fold it.
        bodies = await _bodies(store, execution_id, wanted)
        return ExecutionMachine.restore(stored, document, diagram, bodies)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the log has everything.
        log.warning("checkpoint_ignored", execution_id=execution_id, error=str(error))
        return None


async def _check_told(store: StateStore, known: Checkpoint) -> None:
    """Does the log tell of it? Raises DamagedCheckpoint."""
    # The log of its own run: a fork may have left that before the event.
    for recorded in await store.read(known.execution_id, after=known.at, limit=1):
        event = recorded.event
        if isinstance(event, CheckpointSaved) and event.content_hash == known.content_hash:
            return
    raise DamagedCheckpoint(f"The log does not tell of the checkpoint at {known.at}.")


async def _diagram_of(
    store: StateStore, execution_id: ExecutionID, first: Recorded, document: Document
) -> ExecutableDiagram:
    """The diagram that it ran then: that it began with, or that of its last change."""
    changed_at = document["state"].get("graph_at")
    told = first
    if changed_at is not None:
        [told] = await store.read(execution_id, after=Seq(changed_at - 1), limit=1)
    if not isinstance(told.event, ExecutionStarted | DiagramMutated):
        raise DamagedCheckpoint("The log of a checkpoint does not hold its diagram.")
    return told.event.diagram


def _stretches(wanted: Sequence[Seq]) -> list[range]:
    """The wanted sequences as stretches to read, those near each other together."""
    found: list[range] = []
    for seq in wanted:
        if found and seq - found[-1].stop <= GAP_MAX:
            found[-1] = range(found[-1].start, seq + 1)
        else:
            found.append(range(seq, seq + 1))
    return found


async def _bodies(
    store: StateStore, execution_id: ExecutionID, wanted: Sequence[range]
) -> dict[int, Any]:
    """The bodies of all envelopes in these stretches of the log, by their events."""
    found: dict[int, Any] = {}
    for stretch in wanted:
        after = Seq(stretch.start - 1)
        while after < stretch.stop - 1:
            size = min(PAGE_EVENTS, stretch.stop - 1 - after)
            events = await store.read(execution_id, after=after, limit=size)
            if not events:
                break
            found.update(_body(recorded) for recorded in events)
            after = events[-1].seq
    return found


def _body(recorded: Recorded) -> tuple[int, Any]:
    event = recorded.event
    if isinstance(event, NodeCompleted | NodeFailed | NodeReported | NodeOutputSet):
        return recorded.seq, event.output.body if event.output is not None else None
    return recorded.seq, None
