"""Ids of executions and diagrams: random, or for child executions a function of the visit."""

from __future__ import annotations

import base64
import hashlib
import secrets

from dipeo_server.domains.execution.ids import DiagramID, ExecutionID, NodeRun

CELL = "0"


def new_execution_id() -> ExecutionID:
    """A fresh id with 128 random bits."""
    return _id(secrets.token_bytes(16))


def new_diagram_id() -> DiagramID:
    """A fresh id with 128 random bits."""
    return DiagramID(f"diagram_{_text(secrets.token_bytes(16))}")


def child_execution_id(parent: ExecutionID, visit: NodeRun, tries: int, key: str) -> ExecutionID:
    """The child of a visit: asking twice gives the same one; a retry (`tries`) gives another."""
    text = "\0".join([parent, visit.node, str(visit.occurrence), str(tries), key])
    return _id(hashlib.blake2b(text.encode(), digest_size=16).digest())


def _id(raw: bytes) -> ExecutionID:
    return ExecutionID(f"exec_{CELL}_{_text(raw)}")


def _text(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
