"""Forks servers that can be killed: everything is imported once, so a new life begins at once.

`python kennel.py STORE BASE_DIR TRACE`: every line on standard input forks a server, which prints
its process id and its URL when it accepts connections.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from dipeo_server.app import node_types
from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import NodeOutput, create_node_output, node_handler
from dipeo_server.server import serve
from dipeo_server.settings import Settings


@node_handler("traced", pure=True)
async def traced(node: DomainNode[Any], ctx: ExecutionContext) -> NodeOutput:
    """Writes down that it was entered, waits a little, and gives its occurrence."""
    run = ctx.node_run
    entry = f"{ctx.execution_id}\t{run.node}\t{run.occurrence}\t{run.attempt}\n"
    trace = os.open(TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, entry.encode())
    os.close(trace)
    await ctx.sleep(0.002 * (1 + run.occurrence % 3))
    return create_node_output({"default": run.occurrence})


STORE, BASE_DIR, TRACE = sys.argv[1:]


def live() -> None:
    """One life: until it is killed."""
    settings = Settings(port=0, base_dir=Path(BASE_DIR), store=f"sqlite:{STORE}")
    announce = os.getpid()
    asyncio.run(serve(settings, lambda url: print("live", announce, url, flush=True), node_types()))


def main() -> None:
    """Fork a server for every line."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            live()
            os._exit(0)
        os.waitpid(child, 0)
        print("dead", flush=True)


main()
