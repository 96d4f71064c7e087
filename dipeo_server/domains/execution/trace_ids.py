"""The ids of traces and spans (W3C): they follow from what they are of, so a restart keeps them."""

from __future__ import annotations

import hashlib

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun


def trace_id(execution_id: ExecutionID) -> str:
    """32 hex digits: the trace of one execution."""
    return hashlib.blake2b(execution_id.encode(), digest_size=16).hexdigest()


def root_span_id(execution_id: ExecutionID) -> str:
    """16 hex digits: the span of the execution itself."""
    return hashlib.blake2b(execution_id.encode(), digest_size=8).hexdigest()


def span_id(execution_id: ExecutionID, run: NodeRun) -> str:
    """16 hex digits: the span of one attempt of one visit."""
    text = "\0".join([execution_id, run.node, str(run.occurrence), str(run.attempt)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
