"""Events of a run in words for people: a line each, nothing for those that only programs need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from dipeo_server.cli.durations import in_words, seconds_of

Event = Mapping[str, Any]


def told(event: Event) -> str | None:
    """The event as a line; None where there is nothing to say."""
    wording = _WORDINGS.get(event["__typename"])
    return wording(event) if wording is not None else None


def moment_of(event: Event) -> float | None:
    """When it was recorded, in seconds since 1970; None for what is no event."""
    timestamp = event.get("timestamp")
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def _line(verb: str, subject: str, detail: str = "") -> str:
    return f"{verb:<11}  {subject}{f'  {detail}' if detail else ''}"


def visit_of(event: Event) -> str:
    """The node, with its visit and attempt where they are not the first."""
    visit, attempt = event.get("visit") or 1, event.get("attempt") or 1
    again = f" #{visit}" if visit > 1 else ""
    retry = f" (attempt {attempt})" if attempt > 1 else ""
    return f"{event['nodeKey']}{again}{retry}"


def failure_of(event: Event) -> str:
    """The code and the message of an event's error."""
    failure = event["failure"]
    return f"{failure['code']}: {failure['message']}"


def pause_words(cause: str | None, reason: str | None) -> str:
    """What paused a run and why, each once: `user: too dear`; nothing where neither is known."""
    return ": ".join(dict.fromkeys(part for part in (cause, reason) if part))


def _by(event: Event, *more: object) -> str:
    """`(by ann, too dear)`; nothing where neither who nor why is known."""
    who = f"by {event['actor']}" if event.get("actor") else None
    parts = [str(part) for part in (who, *more) if part]
    return f"({', '.join(parts)})" if parts else ""


def _status_changed(event: Event) -> str | None:
    reason = pause_words(event.get("cause"), event.get("changeReason"))
    if event["from"] == event["to"]:
        return _line("stopping", f"({reason})" if reason else "")
    quiet = event["to"] in {"STARTED", "RUNNING", "WAITING"} and not reason
    return None if quiet else _line(event["to"].lower(), f"({reason})" if reason else "")


def _completed(event: Event) -> str:
    return _line("completed", visit_of(event), in_words(seconds_of(event["duration"])))


def _failed(event: Event) -> str:
    return _line("failed", visit_of(event), failure_of(event))


def _skipped(event: Event) -> str:
    return _line("skipped", event["nodeKey"], _by(event, event["why"], event.get("comment")))


def _output_set(event: Event) -> str:
    return _line("given", visit_of(event), _by(event, event["why"]))


def _decided_early(event: Event) -> str:
    visit = event.get("decidedVisit")
    which = "every visit" if visit is None else f"visit {visit}"
    return _line(
        "decision", event["nodeKey"], f"{event['change']}, for {which} {_by(event)}".strip()
    )


def _breakpoints_changed(event: Event) -> str:
    found = [f"{each['when'].lower()} {each['nodeKey']}" for each in event["breakpoints"]]
    return _line("breakpoints", ", ".join(found) or "none", _by(event))


def _limit_raised(event: Event) -> str:
    limits = [("steps", event["maxSteps"]), ("tokens", event.get("maxTokens"))]
    limits += [("of running", in_words(seconds_of(event.get("maxTime"))))]
    told_limits = ", ".join(f"{limit} {name}" for name, limit in limits if limit)
    return _line("limits", told_limits, _by(event))


def _branch_completed(event: Event) -> str:
    how = "completed" if event["isSuccess"] else "failed"
    took = in_words(seconds_of(event["duration"]))
    return _line("branch", visit_of(event), f"{event['branch']} {how} after {took}")


def _limit_reached(event: Event) -> str:
    return _line("limit", event["nodeKey"], f"(it has run {event['limit']} times)")


def _observed(event: Event) -> str:
    return _line("noticed", event.get("place") or "the run", failure_of(event))


def _resolved(event: Event) -> str:
    by = event.get("decidedBy")
    return _line(event["barrierStatus"].lower(), visit_of(event), f"(by {by})" if by else "")


_WORDINGS: Final[Mapping[str, Callable[[Event], str | None]]] = {
    "ExecutionStatusChanged": _status_changed,
    "NodeStarted": lambda event: _line("started", visit_of(event)),
    "NodeCompleted": _completed,
    "NodeFailed": _failed,
    "NodeInterrupted": lambda event: _line("interrupted", visit_of(event), f"({event['why']})"),
    "NodeSkipped": _skipped,
    "NodeRetryScheduled": lambda event: _line("will retry", visit_of(event), _by(event)),
    "NodeMaxIterationsReached": _limit_reached,
    "ObservedError": _observed,
    "BarrierWaiting": lambda event: _line("waiting", visit_of(event), "for a person"),
    "BarrierResolved": _resolved,
    "NodeOutputSet": _output_set,
    "EarlyDecisionChanged": _decided_early,
    "BreakpointsChanged": _breakpoints_changed,
    "BreakpointHit": lambda event: _line(
        "breakpoint", visit_of(event), f"({event['when'].lower()})"
    ),
    "LimitRaised": _limit_raised,
    "DiagramMutated": lambda event: _line("graph", f"revision {event['mutatedTo']}", _by(event)),
    "BranchCompleted": _branch_completed,
    "CheckpointFailed": lambda event: _line("no checkpoint", event["trigger"], event["message"]),
}
