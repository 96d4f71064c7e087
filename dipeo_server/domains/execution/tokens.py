"""What one NodeRun puts on each of its outgoing edges: a live, dead or failed token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dipeo_server.domains.execution.envelope import Envelope


class TokenKind(Enum):
    """Live carries a value; dead: that path was not taken; failed: what feeds it failed."""

    LIVE = "live"
    DEAD = "dead"
    FAILED = "failed"


class SkipReason:
    """Why a node did not run."""

    UNREACHABLE: Final = "unreachable"
    BRANCH_NOT_TAKEN: Final = "branch_not_taken"
    JOIN_NOT_MET: Final = "join_not_met"
    UPSTREAM_FAILED: Final = "upstream_failed"
    SKIP_BRANCH: Final = "skip_branch"
    BARRIER_SKIPPED: Final = "barrier_skipped"
    BY_USER: Final = "by_user"


# Where the tokens of one node give several reasons, the first of these is told: a fixed order,
# so that the order in which they arrived does not show.
_RANK: Final = {
    SkipReason.UPSTREAM_FAILED: 0,
    SkipReason.SKIP_BRANCH: 1,
    SkipReason.BARRIER_SKIPPED: 2,
    SkipReason.BY_USER: 3,
    SkipReason.JOIN_NOT_MET: 4,
    SkipReason.BRANCH_NOT_TAKEN: 5,
}


@dataclass(frozen=True, slots=True)
class Token:
    """One token. Live ones carry an envelope and the port it left; others carry a reason."""

    kind: TokenKind
    envelope: Envelope | None = None
    port: str = "default"
    reason: str = SkipReason.BRANCH_NOT_TAKEN

    @property
    def is_live(self) -> bool:
        """Does it carry a value?"""
        return self.kind is TokenKind.LIVE


NOT_TAKEN: Final = Token(TokenKind.DEAD)
FAILED: Final = Token(TokenKind.FAILED, reason=SkipReason.UPSTREAM_FAILED)


def dead(reason: str) -> Token:
    """A dead token for that reason; `upstream_failed` gives a failed one."""
    if reason == SkipReason.UPSTREAM_FAILED:
        return FAILED
    return (
        NOT_TAKEN if reason == SkipReason.BRANCH_NOT_TAKEN else Token(TokenKind.DEAD, reason=reason)
    )


def strongest_reason(tokens: list[Token]) -> str:
    """Why a node with these tokens is skipped."""
    reasons = (token.reason for token in tokens if not token.is_live)
    return min(
        reasons, key=lambda reason: _RANK.get(reason, 9), default=SkipReason.BRANCH_NOT_TAKEN
    )


def kept_at_exit(held: Token | None, new: Token) -> Token:
    """What an exit holds back: the latest live token, else a failed one, else the latest dead."""
    if held is None or new.is_live:
        return new
    is_kept = held.is_live or (held.kind is TokenKind.FAILED and new.kind is TokenKind.DEAD)
    return held if is_kept else new
