"""A server that tells about its own memory: `python probed_server.py STORE BASE_DIR`.

It prints its URL. Each line on standard input is answered with one line of JSON: `figures` by how
many tasks and objects there are, `types` by how many objects of which type.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dipeo_server.server import serve
from dipeo_server.settings import Settings


class MallInfo(ctypes.Structure):
    """What glibc tells of its heap: `mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def heap_bytes() -> int:
    """What of the C heap is in use: bodies, pages of SQLite, long texts; not small objects."""
    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = MallInfo
    found = tell()
    return int(found.uordblks + found.hblkhd)


def figures() -> dict[str, int]:
    """What is counted again and again."""
    return {
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()),
        "heap": heap_bytes() // 1024,
    }


def types() -> dict[str, int]:
    """How many objects of each type are left behind a collection, and how many tasks by name."""
    gc.collect()
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects()]
    names += [f"task {task.get_name().partition(' ')[0]}" for task in asyncio.all_tasks()]
    return Counter(names)


def tell(ask: Callable[[], dict[str, int]]) -> None:
    """Look, and answer with what is found."""
    print(json.dumps(ask()), flush=True)


def answer(loop: asyncio.AbstractEventLoop) -> None:
    """Answer questions from a thread; the loop is what looks."""
    questions = {"figures": figures, "types": types}
    for line in sys.stdin:
        loop.call_soon_threadsafe(tell, questions[line.strip()])


async def main(store: str, base_dir: Path) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    threading.Thread(target=answer, args=(loop,), daemon=True).start()
    settings = Settings(port=0, base_dir=base_dir, store=f"sqlite:{store}")
    await serve(settings, lambda url: print(f"{url}/graphql", flush=True))


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
