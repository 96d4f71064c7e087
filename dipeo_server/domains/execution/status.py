"""Statuses of executions and nodes, and the tables of legal transitions, checked on every event."""

from __future__ import annotations

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """Where a whole run stands (source document 001, extended as `semantics` says)."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    @property
    def is_terminal(self) -> bool:
        """Nothing can follow: COMPLETED, FAILED or ABORTED."""
        return self in _TERMINAL

    @property
    def is_active(self) -> bool:
        """Not terminal."""
        return self not in _TERMINAL


class NodeExecutionStatus(StrEnum):
    """Where one node stands: the status of its last NodeRun."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    ABORTED = "ABORTED"
    MAXITER_REACHED = "MAXITER_REACHED"


class BarrierStatus(StrEnum):
    """How a barrier stands or ended; the first committed decision wins."""

    WAITING = "WAITING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    SKIPPED = "SKIPPED"
    MODIFIED = "MODIFIED"
    REROUTED = "REROUTED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"


_E = ExecutionStatus
_N = NodeExecutionStatus
_TERMINAL = frozenset({_E.COMPLETED, _E.FAILED, _E.ABORTED})
_LIVE = frozenset({_E.RUNNING, _E.WAITING, _E.PAUSED})

EXECUTION_TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    _E.PENDING: frozenset({_E.STARTED}) | _TERMINAL,
    _E.STARTED: _LIVE | _TERMINAL,
    _E.RUNNING: frozenset({_E.WAITING, _E.PAUSED}) | _TERMINAL,
    _E.WAITING: frozenset({_E.RUNNING, _E.PAUSED}) | _TERMINAL,
    _E.PAUSED: frozenset({_E.RUNNING, _E.WAITING}) | _TERMINAL,
    _E.COMPLETED: frozenset(),
    _E.FAILED: frozenset(),
    _E.ABORTED: frozenset(),
}

_FINISHED = frozenset({_N.COMPLETED, _N.FAILED, _N.SKIPPED, _N.MAXITER_REACHED})
_ENDS = frozenset({_N.COMPLETED, _N.FAILED, _N.SKIPPED, _N.ABORTED})
# A finished node starts again in the next turn of its loop, so finished statuses lead on.
_AGAIN = frozenset({_N.RUNNING}) | _FINISHED

NODE_TRANSITIONS: dict[NodeExecutionStatus, frozenset[NodeExecutionStatus]] = {
    _N.PENDING: frozenset({_N.RUNNING, _N.COMPLETED, _N.SKIPPED, _N.MAXITER_REACHED}),
    _N.RUNNING: frozenset({_N.PENDING, _N.WAITING}) | _ENDS,
    _N.WAITING: frozenset({_N.PENDING, _N.RUNNING}) | _ENDS,
    _N.COMPLETED: _AGAIN,
    _N.MAXITER_REACHED: _AGAIN,
    # A failed attempt waits for the next one; what was skipped for a failure is open again once
    # the failure is taken back.
    _N.FAILED: _AGAIN | {_N.WAITING},
    _N.SKIPPED: _AGAIN | {_N.PENDING},
    _N.ABORTED: frozenset(),
}
