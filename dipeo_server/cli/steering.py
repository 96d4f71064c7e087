"""Steering a run at a server: pause, resume, abort, step, nodes by hand, breakpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from dipeo_server.cli import breakpoints
from dipeo_server.cli.assignments import value_of, variables
from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.durations import iso_of
from dipeo_server.cli.events import events
from dipeo_server.cli.outcome import ExitCode, Unusable
from dipeo_server.cli.remote import (
    Change,
    Document,
    Remote,
    Told,
    carry_out,
    change,
    given,
    missing,
    write_line,
)
from dipeo_server.cli.telling import Event, pause_words, told

_FACTS: Final = (
    "id status isActive lastSequence availableActions pauseCause pauseReason "
    "barriers(status: WAITING) { id nodeKey occurrence }"
)
_HOLDS: Final = {"paused", "breakpoint", "limit", "step", "places"}
"""What keeps a node from running that is ready."""
_RUN: Final = {"id": "ID!"}
_NODE: Final = {"executionId": "ID!", "nodeKey": "String!"}
_EXECUTION: Final = f"execution {{ {_FACTS} }}"
_BREAKPOINTS: Final = "breakpoints { nodeKey when condition }"

PAUSE: Final = Change(
    "pauseExecution", {**_RUN, "mode": "PauseMode", "reason": "String"}, _EXECUTION
)
RESUME: Final = Change(
    "resumeExecution",
    {
        **_RUN,
        "variables": "JSON",
        "maxSteps": "Int",
        "maxTokens": "Int",
        "maxTime": "Duration",
        "revisionPolicy": "RevisionPolicy",
    },
    _EXECUTION,
)
ABORT: Final = Change(
    "abortExecution", {**_RUN, "reason": "String", "grace": "Duration"}, _EXECUTION
)
STEP: Final = Change("stepExecution", {**_RUN, "nodeKey": "String"}, _EXECUTION)
SKIP: Final = Change("skipNode", {**_NODE, "reason": "String"}, _EXECUTION)
RETRY: Final = Change("retryNode", _NODE, _EXECUTION)
SET_OUTPUT: Final = Change("setNodeOutput", {**_NODE, "output": "JSON!"}, _EXECUTION)
SET_BREAKPOINTS: Final = Change(
    "setBreakpoints",
    {"executionId": "ID!", "breakpoints": "[BreakpointInput!]!"},
    f"execution {{ id status {_BREAKPOINTS} }}",
)
NOW: Final = f"query($id: ID!) {{ execution(id: $id) {{ {_FACTS} }} }}"
READY: Final = """query($id: ID!) {
  execution(id: $id) { nodeStates { nodeKey blockedBy { reason } } }
}"""
NODES: Final = f"""query($id: ID!) {{
  execution(id: $id) {{ id status {_BREAKPOINTS} revision {{ nodes {{ key label }} }} }}
}}"""


def pause(remote: Remote, execution_id: str, *, is_now: bool, reason: str | None) -> ExitCode:
    """Hold a run."""
    mode = "NOW" if is_now else None
    return _simple(remote, PAUSE, given(id=execution_id, mode=mode, reason=reason))


def resume(
    remote: Remote,
    execution_id: str,
    *,
    limits: Mapping[str, int | None],
    max_time: str | None,
    assignments: Sequence[str],
    policy: str | None = None,
) -> ExitCode:
    """Let a paused run go on; `limits` are `maxSteps` and `maxTokens`."""

    async def work(client: GraphQLClient) -> Told:
        wanted = given(
            id=execution_id,
            **limits,
            maxTime=iso_of(max_time, "--max-time") if max_time else None,
            variables=variables(assignments) or None,
            revisionPolicy=policy,
        )
        return _told((await change(client, remote, RESUME, wanted))["execution"])

    return carry_out(remote, work)


def abort(
    remote: Remote,
    execution_id: str,
    *,
    reason: str | None,
    grace: str | None,
    is_waiting: bool,
) -> ExitCode:
    """End a run, and tell its end unless nobody waits for it."""

    async def work(client: GraphQLClient) -> Told:
        wait = iso_of(grace, "--grace") if grace else None
        wanted = given(id=execution_id, reason=reason, grace=wait)
        execution = (await change(client, remote, ABORT, wanted))["execution"]
        if is_waiting and execution["isActive"]:
            async with aclosing(events(client, execution_id, execution["lastSequence"])) as stream:
                async for _ in stream:
                    pass
            execution = await now(client, execution_id)
        return _told(execution)

    return carry_out(remote, work)


def step(remote: Remote, execution_id: str, *, node: str | None, is_waiting: bool) -> ExitCode:
    """Let one node of a paused run run; tell what happens meanwhile."""

    async def work(client: GraphQLClient) -> Told:
        before = await now(client, execution_id)
        key = None if node is None else await key_of(client, execution_id, node)
        wanted = given(id=execution_id, nodeKey=key)
        execution = (await change(client, remote, STEP, wanted))["execution"]
        if is_waiting and execution["lastSequence"] != before["lastSequence"]:
            async for event in _until_held(client, before, execution):
                line = told(event)
                if line is not None and not remote.as_json:
                    write_line(line)
            execution = await now(client, execution_id)
        found = _told(execution)
        ready = await _ready(client, execution_id) if execution["status"] == "PAUSED" else []
        more = [f"next: {', '.join(ready)}"] if ready else []
        return Told({**found.document, "ready": ready}, [*found.lines, *more])

    return carry_out(remote, work)


async def _ready(client: GraphQLClient, execution_id: str) -> list[str]:
    """Keys of the nodes that nothing but the pause keeps from running."""
    states = (await client.execute(READY, {"id": execution_id}))["execution"]["nodeStates"]
    return [
        state["nodeKey"]
        for state in states
        if state["blockedBy"] and all(each["reason"] in _HOLDS for each in state["blockedBy"])
    ]


async def _until_held(
    client: GraphQLClient, before: Document, answered: Document
) -> AsyncIterator[Event]:
    """Events behind `before` until the run has gone on and is held again, or has ended.

    A run that was held again when the step was `answered` is not waited for: under the key of an
    earlier step nothing happens any more.
    """
    has_gone_on = before["status"] != "PAUSED"
    last = int(answered["lastSequence"]) if answered["status"] == "PAUSED" else None
    async with aclosing(events(client, before["id"], before["lastSequence"])) as stream:
        async for event in stream:
            yield event
            is_held = event.get("to") == "PAUSED" and has_gone_on
            if is_held or (last is not None and int(event.get("sequence") or 0) >= last):
                return
            has_gone_on = has_gone_on or event.get("from") == "PAUSED"


def skip(remote: Remote, execution_id: str, node: str, *, reason: str | None) -> ExitCode:
    """Do not run a node in this turn."""
    return _by_hand(remote, SKIP, execution_id, node, given(reason=reason))


def retry(remote: Remote, execution_id: str, node: str) -> ExitCode:
    """Run a failed node again."""
    return _by_hand(remote, RETRY, execution_id, node, {})


def set_output(remote: Remote, execution_id: str, node: str, value: str) -> ExitCode:
    """Take a value as a node's result, instead of running it."""
    return _by_hand(remote, SET_OUTPUT, execution_id, node, {"output": value_of(value)})


def set_breakpoints(
    remote: Remote, execution_id: str, texts: Sequence[str], *, is_clearing: bool
) -> ExitCode:
    """Set a run's breakpoints, or list them where none are given."""

    async def work(client: GraphQLClient) -> Told:
        if texts and is_clearing:
            raise Unusable("--clear takes all breakpoints away, so none can be given with it.")
        execution = await _nodes(client, execution_id)
        if texts or is_clearing:
            keys = [node["key"] for node in execution["revision"]["nodes"]]
            wanted = [breakpoints.breakpoint_of(text, "NODE", keys) for text in texts]
            arguments = {"executionId": execution_id, "breakpoints": wanted}
            execution = (await change(client, remote, SET_BREAKPOINTS, arguments))["execution"]
        found = execution["breakpoints"]
        lines = [breakpoints.in_words(each) for each in found] or ["no breakpoints"]
        return Told({"id": execution["id"], "breakpoints": found}, lines)

    return carry_out(remote, work)


def _by_hand(
    remote: Remote, wanted: Change, execution_id: str, node: str, more: Mapping[str, Any]
) -> ExitCode:
    async def work(client: GraphQLClient) -> Told:
        key = await key_of(client, execution_id, node)
        arguments = {"executionId": execution_id, "nodeKey": key, **more}
        return _told((await change(client, remote, wanted, arguments))["execution"])

    return carry_out(remote, work)


def _simple(remote: Remote, wanted: Change, arguments: Mapping[str, Any]) -> ExitCode:
    async def work(client: GraphQLClient) -> Told:
        return _told((await change(client, remote, wanted, arguments))["execution"])

    return carry_out(remote, work)


async def now(client: GraphQLClient, execution_id: str) -> Document:
    """How a run stands. Raises RequestRefused, ServerUnreachable."""
    execution: Document | None = (await client.execute(NOW, {"id": execution_id}))["execution"]
    if execution is None:
        raise missing(execution_id)
    return execution


async def key_of(client: GraphQLClient, execution_id: str, name: str) -> str:
    """The key of the node that `name` is the key or the one label of; else `name` itself.

    Raises RequestRefused, ServerUnreachable.
    """
    nodes = (await _nodes(client, execution_id))["revision"]["nodes"]
    if any(node["key"] == name for node in nodes):
        return name
    labelled = [str(node["key"]) for node in nodes if node["label"] == name]
    return labelled[0] if len(labelled) == 1 else name


async def _nodes(client: GraphQLClient, execution_id: str) -> Document:
    execution: Document | None = (await client.execute(NODES, {"id": execution_id}))["execution"]
    if execution is None:
        raise missing(execution_id)
    return {**execution, "revision": execution["revision"] or {"nodes": []}}


def _told(execution: Document) -> Told:
    """A line such as `PAUSED  exec_…  (user: look at the prices)`, and one for each barrier."""
    why = pause_words(execution["pauseCause"], execution["pauseReason"])
    note = f"  ({why})" if why and execution["status"] == "PAUSED" else ""
    lines = [f"{execution['status']}  {execution['id']}{note}"]
    lines += [
        f"waiting for a person: {each['nodeKey']} #{each['occurrence']}  {each['id']}"
        for each in execution["barriers"]
    ]
    return Told(execution, lines)
