"""`--approve`: what becomes of a barrier that no `--answer` is for."""

from __future__ import annotations

from enum import StrEnum


class ApprovePolicy(StrEnum):
    """`auto` approves barriers and never answers questions."""

    ASK = "ask"
    AUTO = "auto"
    LEAVE = "leave"
