"""Ids of executions: random for new ones, a function of the parent's visit for children."""

from __future__ import annotations

import base64
import hashlib
import secrets

from dipeo_server.domains.execution.ids import ExecutionID, NodeRun

CELL = "0"


def new_execution_id() -> ExecutionID:
    """A fresh id with 128 random bits."""
    return _id(secrets.token_bytes(16))


def child_execution_id(parent: ExecutionID, visit: NodeRun, tries: int, key: str) -> ExecutionID:
    """The child of a visit: asking twice gives the same one; a retry (`tries`) gives another."""
    text = "\0".join([parent, visit.node, str(visit.occurrence), str(tries), key])
    return _id(hashlib.blake2b(text.encode(), digest_size=16).digest())


def _id(raw: bytes) -> ExecutionID:
    text = base64.b32encode(raw).decode().rstrip("=").lower()
    return ExecutionID(f"exec_{CELL}_{text}")
