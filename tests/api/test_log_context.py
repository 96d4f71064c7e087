"""What is logged while a node runs says about which run and which visit it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from dipeo_server.domains.execution.handlers import create_node_output
from dipeo_server.domains.execution.output import NodeOutput
from dipeo_server.domains.execution.registry import HandlerRegistry
from dipeo_server.node_types import built_in_node_types
from tests.api.serving import STRAIGHT, serving


async def test_a_handler_logs_about_its_visit(base_dir: Path) -> None:
    seen: list[dict[str, Any]] = []

    async def looking(node: Any, ctx: Any) -> NodeOutput:
        seen.append(structlog.contextvars.get_contextvars())
        return create_node_output({"default": "seen"})

    known = built_in_node_types()
    entry = known.get("transform")
    assert entry is not None
    others = filter(None, (known.get(each) for each in known.specs if each != "transform"))
    registry = HandlerRegistry([*others, replace(entry, handler=looking)]).freeze()
    async with serving(base_dir, registry=registry) as live:
        execution_id = await live.ended(STRAIGHT)
    assert seen == [{"execution_id": execution_id, "node": "work", "occurrence": 1, "attempt": 1}]
