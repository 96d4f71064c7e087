"""The values of a run's own fields: of a loaded run, and of a row of the list."""

from __future__ import annotations

from typing import Any

import strawberry

from dipeo_server.api.types.node_state import duration
from dipeo_server.api.types.outcome import execution_error, stored_error, token_usage
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.ports import ExecutionSummary
from dipeo_server.domains.execution.state import ExecutionView


def facts_of_view(view: ExecutionView) -> dict[str, Any]:
    """Those of a loaded run."""
    return {
        "id": strawberry.ID(view.id),
        "status": view.status,
        "is_active": view.status.is_active,
        "started_at": view.created_at,
        "ended_at": view.ended_at,
        "duration": duration(view.created_at, view.ended_at),
        "error": execution_error(view.error) if view.error else None,
        "token_usage": token_usage(view.token_usage),
        "last_sequence": view.last_seq,
        "execution_id": view.id,
        "forked_at": view.forked_at,
        "parent_id": view.parent_id,
        "diagram_id": view.diagram_id,
        "view": view,
    }


def facts_of_row(row: ExecutionSummary) -> dict[str, Any]:
    """Those of a run's row."""
    return {
        "id": strawberry.ID(row.id),
        "status": row.status,
        "is_active": row.status.is_active,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "duration": duration(row.started_at, row.ended_at),
        "error": stored_error(row.error) if row.error else None,
        "token_usage": token_usage(row.token_usage),
        "last_sequence": row.last_seq,
        "execution_id": row.id,
        "forked_at": row.forked_at,
        "parent_id": row.parent_id,
        "diagram_id": DiagramID(row.diagram_id) if row.diagram_id else None,
        "view": None,
    }
