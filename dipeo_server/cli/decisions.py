"""Barriers at a server: list them, decide them, now or ahead of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.cli.assignments import value_of, variables
from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.durations import iso_of
from dipeo_server.cli.events import barriers_as_they_come
from dipeo_server.cli.outcome import ExitCode, Unusable
from dipeo_server.cli.remote import (
    Change,
    Document,
    Refused,
    Remote,
    Told,
    carry_out,
    change,
    given,
    missing,
    write_line,
)
from dipeo_server.cli.report import in_one_line
from dipeo_server.cli.steering import key_of

BARRIERS_MAX: Final = 100
_EARLY: Final = "id nodeKey occurrence action expiresAt usesLeft createdBy"
_BARRIER: Final = (
    "id nodeKey occurrence status prompt answerSchema waitingSince expiresAt defaultAction "
    "decidedAt decidedBy reason"
)
_DECIDED: Final = (
    f"barrier {{ {_BARRIER} }} execution {{ id status isActive lastSequence availableActions }}"
)

APPROVE: Final = Change(
    "approveBarrier", {"id": "ID!", "answer": "JSON", "comment": "String"}, _DECIDED
)
REJECT: Final = Change("rejectBarrier", {"id": "ID!", "reason": "String!"}, _DECIDED)
DECIDE: Final = Change(
    "decideBarrier",
    {
        "target": "BarrierTarget!",
        "action": "BarrierAction!",
        "reason": "String",
        "answer": "JSON",
        "variables": "JSON",
        "reroute": "String",
        "expiresIn": "Duration",
        "maxUses": "Int",
    },
    f"{_DECIDED} earlyDecision {{ {_EARLY} }}",
)
REVOKE: Final = Change("revokeDecision", {"id": "ID!"}, f"{_DECIDED} earlyDecision {{ {_EARLY} }}")
WAITING: Final = f"""query($id: ID, $first: Int!) {{
  waitingBarriers(executionId: $id, first: $first) {{ {_BARRIER} execution {{ id }} }}
}}"""
OF_RUN: Final = (
    f"query($id: ID!) {{ execution(id: $id) {{ barriers {{ {_BARRIER} execution {{ id }} }} }} }}"
)
EARLY: Final = f"query($id: ID!) {{ execution(id: $id) {{ id earlyDecisions {{ {_EARLY} }} }} }}"
COMING: Final = f"""subscription($id: ID) {{
  barrierWaiting(executionId: $id) {{ {_BARRIER} execution {{ id }} }}
}}"""


@dataclass(frozen=True, slots=True)
class Target:
    """A barrier by its id, or a run and its node; `occurrence` None = no visit in particular."""

    name: str
    node: str | None
    occurrence: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `decide` was given; the help of the command explains it."""

    action: str
    reason: str | None
    answer: str | None
    assignments: Sequence[str]
    reroute: str | None
    expires_in: str | None
    max_uses: int | None


def list_barriers(remote: Remote, execution_id: str | None, *, is_following: bool) -> ExitCode:
    """Tell what waits for a person; go on telling where it `is_following`."""

    async def work(client: GraphQLClient) -> Told | None:
        if execution_id is not None:
            await _of_run(client, execution_id)
        if is_following:
            await _follow(client, remote, execution_id)
            return None
        data = await client.execute(WAITING, {"id": execution_id, "first": BARRIERS_MAX})
        found = data["waitingBarriers"]
        lines = [line for barrier in found for line in _lines(barrier)]
        lines += [f"… and perhaps more than these {len(found)}"] * (len(found) == BARRIERS_MAX)
        return Told({"barriers": found}, lines or ["nothing waits for a person"])

    return carry_out(remote, work)


async def _follow(client: GraphQLClient, remote: Remote, execution_id: str | None) -> None:
    coming = barriers_as_they_come(client, COMING, execution_id)
    async with aclosing(coming) as stream:
        async for barrier in stream:
            lines = [in_one_line(barrier)] if remote.as_json else _lines(barrier)
            for line in lines:
                write_line(line)


def approve(remote: Remote, target: Target, *, answer: str | None, comment: str | None) -> ExitCode:
    """Approve at a waiting barrier, or answer its question."""
    more = given(comment=comment) | ({} if answer is None else {"answer": value_of(answer)})
    return _decide_waiting(remote, target, APPROVE, more)


def reject(remote: Remote, target: Target, *, reason: str) -> ExitCode:
    """Reject at a waiting barrier."""
    return _decide_waiting(remote, target, REJECT, {"reason": reason})


def _decide_waiting(
    remote: Remote, target: Target, wanted: Change, more: Mapping[str, Any]
) -> ExitCode:
    async def work(client: GraphQLClient) -> Told:
        barrier_id = await _barrier_at(client, target)
        return _told(await change(client, remote, wanted, {"id": barrier_id, **more}))

    return carry_out(remote, work)


async def _barrier_at(client: GraphQLClient, target: Target) -> str:
    """The id of the barrier that is meant: the one that waits, else the one decided last.

    Raises Refused where there is none, or where several wait.
    """
    if target.node is None:
        return target.name
    key = await key_of(client, target.name, target.node)
    there = [each for each in await _of_run(client, target.name) if each["nodeKey"] == key]
    if target.occurrence is not None:
        there = [each for each in there if each["occurrence"] == target.occurrence]
    waiting = [each for each in there if each["status"] == "WAITING"]
    if not there:
        raise _nothing_waits(target)
    if len(waiting) > 1:
        hint = f"Name one of them: {', '.join(each['id'] for each in waiting)}."
        message = f"{len(waiting)} barriers wait at {target.node!r}."
        raise Refused(message, "CONFLICT", hint=hint)
    return str((waiting or there)[-1]["id"])


def _nothing_waits(target: Target) -> Refused:
    visit = f", visit {target.occurrence}" if target.occurrence is not None else ""
    return Refused(
        f"No barrier waits at {target.node!r}{visit} in {target.name}.",
        "NOT_FOUND",
        hint="`dipeo-server barriers` lists what waits; `dipeo-server decide` decides ahead of "
        "time.",
    )


def decide(remote: Remote, target: Target, verdict: Verdict) -> ExitCode:
    """Any decision: on a waiting barrier, or on a node's visits ahead of time."""

    async def work(client: GraphQLClient) -> Told:
        wanted = _wanted(target, verdict)
        meant = {"target": await _target_input(client, target), **wanted}
        return _told(await change(client, remote, DECIDE, meant))

    return carry_out(remote, work)


def _wanted(target: Target, verdict: Verdict) -> Document:
    """The arguments of the mutation, without its target. Raises Unusable."""
    if target.node is None and target.occurrence is not None:
        hint = "A barrier's id means one visit already; or name the run and the node."
        raise Unusable("--occurrence needs a run and a node.", hint=hint)
    expires_in = verdict.expires_in
    return {
        **given(
            action=verdict.action,
            reason=verdict.reason,
            reroute=verdict.reroute,
            variables=variables(verdict.assignments) or None,
            expiresIn=iso_of(expires_in, "--expires-in") if expires_in else None,
            maxUses=verdict.max_uses,
        ),
        **({} if verdict.answer is None else {"answer": value_of(verdict.answer)}),
    }


async def _target_input(client: GraphQLClient, target: Target) -> Document:
    if target.node is None:
        return {"barrierId": target.name}
    key = await key_of(client, target.name, target.node)
    place = given(executionId=target.name, nodeKey=key, occurrence=target.occurrence)
    return {"node": place}


def list_decisions(remote: Remote, execution_id: str) -> ExitCode:
    """Tell the decisions that were made ahead of time and may still be used."""

    async def work(client: GraphQLClient) -> Told:
        execution = (await client.execute(EARLY, {"id": execution_id}))["execution"]
        if execution is None:
            raise missing(execution_id)
        found = execution["earlyDecisions"]
        lines = [_early_line(each) for each in found] or ["no decisions ahead of time"]
        return Told({"id": execution["id"], "earlyDecisions": found}, lines)

    return carry_out(remote, work)


def revoke(remote: Remote, decision_id: str) -> ExitCode:
    """Take a decision back that was made ahead of time."""

    async def work(client: GraphQLClient) -> Told:
        payload = await change(client, remote, REVOKE, {"id": decision_id})
        return Told(_document(payload), [f"revoked  {decision_id}"])

    return carry_out(remote, work)


async def _of_run(client: GraphQLClient, execution_id: str) -> list[Document]:
    execution = (await client.execute(OF_RUN, {"id": execution_id}))["execution"]
    if execution is None:
        raise missing(execution_id)
    found: list[Document] = execution["barriers"]
    return found


def _told(payload: Document) -> Told:
    barrier, early = payload["barrier"], payload.get("earlyDecision")
    lines = []
    if barrier is not None:
        reason = f"  ({barrier['reason']})" if barrier["reason"] else ""
        lines.append(f"{barrier['status']}  {_place(barrier)}{reason}")
    if early is not None:
        lines.append(f"ahead of time  {_early_line(early)}")
    return Told(_document(payload), lines)


def _document(payload: Document) -> Document:
    return {name: value for name, value in payload.items() if name != "errors"}


def _place(found: Mapping[str, Any]) -> str:
    return f"{found['nodeKey']} #{found['occurrence']}"


def _lines(barrier: Mapping[str, Any]) -> list[str]:
    """A barrier in two or three lines: what to name it, where it is, what is asked."""
    since = f"since {barrier['waitingSince']}"
    ends = f", {barrier['defaultAction'] or 'fails'} at {barrier['expiresAt']}"
    prompt = barrier["prompt"]
    asked = prompt if isinstance(prompt, str) else in_one_line(prompt)
    status = "" if barrier["status"] == "WAITING" else f"  {barrier['status']} already"
    return [
        f"{barrier['id']}  {_place(barrier)}{status}",
        f"  in {barrier['execution']['id']}, {since}{ends if barrier['expiresAt'] else ''}",
        *([f"  {line}" for line in asked.splitlines()] if prompt is not None else []),
    ]


def _early_line(early: Mapping[str, Any]) -> str:
    visit = "every visit" if early["occurrence"] is None else f"visit {early['occurrence']}"
    left = early["usesLeft"]
    uses = "" if left is None else f", {left} use{'' if left == 1 else 's'} left"
    until = f", until {early['expiresAt']}" if early["expiresAt"] else ""
    return f"{early['action']} at {early['nodeKey']}, {visit}{uses}{until}  {early['id']}"
