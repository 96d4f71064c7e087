"""Programs for Node.js with their packages, as tests run them."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INSTALLED = HERE / "node_modules" / ".package-lock.json"
SECONDS_MAX = 120


def what_is_missing() -> str | None:
    """Why programs for Node.js cannot run here, or None."""
    if shutil.which("node") is None:
        return "Node.js is not installed (20 or newer)"
    if not INSTALLED.is_file():
        return "the npm packages are not installed: `make conformance` does it"
    return None


async def node(program: str, *arguments: str) -> list[Any]:
    """Run a program to its end; gives the JSON values that it prints, one a line."""
    reason = what_is_missing()
    assert reason is None or "CI" not in os.environ, reason
    if reason is not None:
        pytest.skip(reason)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / program),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]
