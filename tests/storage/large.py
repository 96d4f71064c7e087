"""Stores with very many events, written by the parts that write every store, in large batches."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from dipeo_server.domains.execution.ids import ExecutionID, Seq
from dipeo_server.storage.appending import Append
from dipeo_server.storage.auditing import keyed_row
from dipeo_server.storage.chain import EventRow
from dipeo_server.storage.codec import EventCodec, stamp
from dipeo_server.storage.database import make_private, open_for_writing
from dipeo_server.storage.queries import load_migrations, load_queries
from dipeo_server.storage.rows import summary_row
from dipeo_server.storage.writer import BATCH_UNITS_MAX, Writer
from tests.storage.records import execution, keyed
from tests.storage.runs import LOOP, Run

TURNS = 9
LIVE = 10


def event_rows(run: Run) -> list[EventRow]:
    """The rows of a run's events, without their hashes."""
    codec = EventCodec()
    return [
        (r.seq, stamp(r.at), r.event.kind, codec.version_of(r.event.kind), codec.encode(r.event))
        for r in run.log
    ]


async def fill(path: Path, executions: int, *, first: int = 1_000) -> int:
    """Write so many runs, the last few of them live; gives how many events that are.

    Their logs are those of one run, so they name it: they read, but do not verify.
    """
    ended, live = Run(execution(0), text=LOOP).turn(TURNS).end(), Run(execution(0), text=LOOP)
    rows = {run: event_rows(run) for run in (ended, live)}
    async with AsyncExitStack() as stack:
        connection, raw = await open_for_writing(make_private(path), stack, load_migrations())
        writer = Writer(connection, raw)
        stack.push_async_callback(writer.close)
        sql = load_queries()
        written = 0
        pending: list[asyncio.Future[None]] = []
        for number in range(executions):
            run = live if number >= executions - LIVE else ended
            append = _append(execution(first + number), run, rows[run])
            written += len(run.log)
            pending.append(writer.put(partial(append.run, sql)))
            if len(pending) == BATCH_UNITS_MAX:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)
    return written


def _append(execution_id: ExecutionID, run: Run, rows: list[EventRow]) -> Append:
    summary = replace(run.summary, id=execution_id)
    answers = [keyed_row(execution_id, keyed(execution_id))]
    return Append(execution_id, Seq(0), summary_row(summary), rows, answers)
