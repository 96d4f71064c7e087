"""Forks servers that can be killed: everything is imported once, so a new life begins at once.

`python kennel.py STORE BASE_DIR TRACE PORT`: every line on standard input forks a server, which
prints its process id and its URL when it accepts connections. Pure nodes write down in TRACE that
they were entered, noted ones when that was; nodes with effects tell somebody who listens on PORT.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import NodeOutput, create_node_output, node_handler
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.node_types import node_types
from dipeo_server.server import serve
from dipeo_server.settings import Settings
from tests.proofs.nonces import nonces

LARGE = "x" * 300_000


@node_handler("traced", pure=True)
async def traced(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Write down that it was entered, wait a little, and give what nobody could give again."""
    trace = os.open(TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, message(ctx))
    os.close(trace)
    await ctx.sleep(0.002 * (ctx.node_run.occurrence % 3))
    return result(ctx, secrets.token_hex(8))


@node_handler("effect", after_crash=AfterCrash.RERUN)
async def effect(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Do something that cannot be undone: tell somebody outside."""
    return await told(ctx)


@node_handler("careful", after_crash=AfterCrash.ASK)
async def careful(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """The same, but after a crash a person is asked first."""
    return await told(ctx)


@node_handler("noted", after_crash=AfterCrash.RERUN)
async def noted(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Write down when it was entered, and work for a moment."""
    return await noting(ctx)


@node_handler("quick", pure=True)
async def quick(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """The same, but it may run ahead of the disk."""
    return await noting(ctx)


async def noting(ctx: ExecutionContext) -> NodeOutput:
    """One line: which execution, which visit, and when, by the clock that all processes share."""
    run = ctx.node_run
    entry = {
        "execution": ctx.execution_id,
        "run": (run.node, run.occurrence, run.attempt),
        "at": time.monotonic(),
    }
    trace = os.open(TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, json.dumps(entry).encode() + b"\n")
    os.close(trace)
    await ctx.sleep(0.004 * (1 + run.occurrence % 3))
    return create_node_output({"default": run.occurrence})


async def told(ctx: ExecutionContext) -> NodeOutput:
    """Tell, and wait until it was heard."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(PORT))
    try:
        writer.write(message(ctx))
        await writer.drain()
        await reader.readline()
    finally:
        writer.close()
    return result(ctx, secrets.token_hex(8))


def message(ctx: ExecutionContext) -> bytes:
    """Who is at work, and on what it rests: outputs of whom, with which nonces in them."""
    run = ctx.node_run
    rests_on = [
        (found.produced_by, found.occurrence, sorted(nonces(found.body)))
        for found in ctx.input_envelopes.values()
    ]
    entry = {
        "execution": ctx.execution_id,
        "run": (run.node, run.occurrence, run.attempt),
        "rests_on": rests_on,
        "is_strict": ctx.variables["is_strict"],
    }
    return json.dumps(entry).encode() + b"\n"


def result(ctx: ExecutionContext, nonce: str) -> NodeOutput:
    """Which turn it was, and the nonce; in some runs a large body as well."""
    pad = LARGE if ctx.variables["is_large"] and ctx.node_run.node in {"b", "z"} else ""
    value = {"turn": ctx.node_run.occurrence, "nonce": nonce, "pad": pad}
    return create_node_output({"default": value})


STORE, BASE_DIR, TRACE, PORT = sys.argv[1:]


def live(registry: HandlerRegistry) -> None:
    """One life: until it is killed."""
    settings = Settings(port=0, base_dir=Path(BASE_DIR), store=f"sqlite:{STORE}")
    announce = os.getpid()
    asyncio.run(serve(settings, lambda url: print("live", announce, url, flush=True), registry))


def main() -> None:
    """Fork a server for every line."""
    registry = node_types()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            live(registry)
            os._exit(0)
        os.waitpid(child, 0)
        print("dead", flush=True)


main()
