"""What the tests of steering send, and the shortest ways to send it and to wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.api.serving import Live, light

PROBLEMS = """errors { __typename code message field hint
  ... on InvalidTransition { current allowed }
  ... on AlreadyDecided { winner { id status decidedBy reason } } }"""
STANDING = """id status isActive availableActions pauseReason pauseCause maxSteps maxTokens maxTime
  breakpoints { nodeKey when condition }
  earlyDecisions { id nodeKey occurrence action reason expiresAt usesLeft createdBy }
  nodeStates { nodeKey status skipReason output { body } }"""
EXECUTION = f"execution {{ {STANDING} }} {PROBLEMS}"
DECIDED = f"""barrier {{ id nodeKey occurrence status reason decidedBy }}
  earlyDecision {{ id nodeKey occurrence action expiresAt usesLeft createdBy }} {EXECUTION}"""

ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "pauseExecution": {"id": "ID!", "mode": "PauseMode", "reason": "String"},
    "stepExecution": {"id": "ID!", "nodeKey": "String"},
    "resumeExecution": {
        "id": "ID!",
        "maxSteps": "Int",
        "maxTokens": "Int",
        "maxTime": "Duration",
        "variables": "JSON",
        "revisionPolicy": "RevisionPolicy",
    },
    "abortExecution": {"id": "ID!", "reason": "String"},
    "mutateGraph": {"executionId": "ID!", "mutations": "[GraphMutationInput!]!"},
    "setBreakpoints": {"executionId": "ID!", "breakpoints": "[BreakpointInput!]!"},
    "retryNode": {"executionId": "ID!", "nodeKey": "String!"},
    "skipNode": {"executionId": "ID!", "nodeKey": "String!", "reason": "String"},
    "setNodeOutput": {"executionId": "ID!", "nodeKey": "String!", "output": "JSON!"},
    "decideBarrier": {
        "target": "BarrierTarget!",
        "action": "BarrierAction!",
        "reason": "String",
        "answer": "JSON",
        "variables": "JSON",
        "reroute": "String",
        "expiresIn": "Duration",
        "maxUses": "Int",
    },
    "revokeDecision": {"id": "ID!"},
    "forkExecution": {
        "id": "ID!",
        "atSequence": "Sequence!",
        "overrides": "ForkOverrides",
        "startPaused": "Boolean",
    },
}
"""The arguments of each mutation, with their types."""

GATES = light(
    "begin -> first -> second -> end",
    begin="start",
    first="barrier",
    second="barrier",
    end="endpoint",
)
CHAIN = light("begin -> work -> end", begin="start", work="transform", end="endpoint")


def document_of(mutation: str) -> str:
    """The mutation with all its arguments as variables."""
    types = {**ARGUMENTS[mutation], "idempotencyKey": "String"}
    declared = ", ".join(f"${name}: {type_}" for name, type_ in types.items())
    passed = ", ".join(f"{name}: ${name}" for name in types)
    fields = DECIDED if mutation in {"decideBarrier", "revokeDecision"} else EXECUTION
    return f"mutation ({declared}) {{ {mutation}({passed}) {{ {fields} }} }}"


async def sent(live: Live, mutation: str, **arguments: Any) -> dict[str, Any]:
    """The payload of a mutation, whatever it says."""
    found: dict[str, Any] = (await live.data(document_of(mutation), **arguments))[mutation]
    return found


async def done(live: Live, mutation: str, **arguments: Any) -> dict[str, Any]:
    """The payload of a mutation that is not refused."""
    payload = await sent(live, mutation, **arguments)
    assert payload["errors"] == [], payload["errors"]
    return payload


async def refused(live: Live, mutation: str, **arguments: Any) -> dict[str, Any]:
    """Why a mutation is refused."""
    payload = await sent(live, mutation, **arguments)
    [error] = payload.pop("errors")
    assert set(payload.values()) == {None}
    found: dict[str, Any] = error
    return found


async def ahead(live: Live, run: str, node: str, action: str, **more: Any) -> dict[str, Any]:
    """The payload of decideBarrier for a node; `occurrence` None = every visit."""
    target = {"executionId": run, "nodeKey": node, "occurrence": more.pop("occurrence", None)}
    return await sent(live, "decideBarrier", target={"node": target}, action=action, **more)


async def standing(live: Live, run: str) -> dict[str, Any]:
    """How a run stands."""
    query = f"query ($id: ID!) {{ execution(id: $id) {{ {STANDING} }} }}"
    found: dict[str, Any] = (await live.data(query, id=run))["execution"]
    return found


async def statuses(live: Live, run: str) -> dict[str, str]:
    """The status of each node of a run."""
    return {each["nodeKey"]: each["status"] for each in (await standing(live, run))["nodeStates"]}


EVENTS = """subscription ($id: ID!, $after: Sequence) {
  executionEvents(executionId: $id, after: $after) {
    __typename
    ... on ExecutionEvent { sequence }
    ... on ExecutionStatusChanged { from to reason actor cause }
    ... on NodeStarted { nodeKey occurrence attempt ranWith: revisionNumber }
    ... on NodeCompleted { nodeKey occurrence }
    ... on NodeFailed { nodeKey error { code } }
    ... on NodeInterrupted { nodeKey willRerun }
    ... on NodeSkipped { nodeKey skipped: reason actor comment }
    ... on NodeRetryScheduled { nodeKey attempt actor }
    ... on NodeOutputSet { nodeKey occurrence attempt given: reason actor ports output { body } }
    ... on BarrierWaiting { nodeKey occurrence barrierId }
    ... on BarrierResolved { nodeKey occurrence barrierId status decidedBy resolved: reason }
    ... on EarlyDecisionChanged { decisionId nodeKey for: occurrence change actor }
    ... on BreakpointsChanged { breakpoints { nodeKey when condition } actor }
    ... on BreakpointHit { nodeKey occurrence when }
    ... on DiagramMutated { revisionNumber contentHash rerun unreachable actor }
    ... on LimitRaised { maxSteps maxTokens maxTime actor }
    ... on ParallelStarted { nodeKey branches }
    ... on BranchCompleted { nodeKey branch isSuccess took: duration failure: error { code } }
    ... on ParallelCompleted { nodeKey took: duration }
    ... on ObservedError { about: nodeKey error { code } }
  }
}"""


async def told(live: Live, run: str, type_: str, **fields: Any) -> dict[str, Any]:
    """The first event of that type with these fields, once it is there."""
    async with live.socket() as socket:
        id_ = await socket.subscribe(EVENTS, id=run)
        while True:
            event = await socket.next(id_)
            if event["__typename"] == type_ and fields.items() <= event.items():
                return event


async def everything(live: Live, run: str) -> list[dict[str, Any]]:
    """Every event of a run, once it has ended."""
    async with live.socket() as socket:
        return await socket.items(EVENTS, id=run)


async def all_told(live: Live, run: str, *types: str) -> list[dict[str, Any]]:
    """Every event of these types, once the run has ended."""
    return [event for event in await everything(live, run) if event["__typename"] in types]


async def held(live: Live, run: str, **fields: Any) -> dict[str, Any]:
    """The event with which the run pauses, once it does."""
    return await told(live, run, "ExecutionStatusChanged", to="PAUSED", **fields)


async def paused(live: Live, content: str, **options: Any) -> str:
    """The id of a new run that is paused before anything runs."""
    run = await live.started(content, startPaused=True, **options)
    await held(live, run, cause="start_paused")
    return run


async def ended(live: Live, run: str) -> str:
    """The status with which a run ends, once it has."""
    await live.follow(run)
    found: str = (await standing(live, run))["status"]
    return found


READING = light(
    "begin -> read -> end",
    begin="start",
    read="db, props: {operation: read, sub_type: file, file: note.txt}",
    end="endpoint",
)


async def failing(live: Live) -> str:
    """The id of a run that is held behind a node that has failed: there is no note.txt."""
    run = await paused(live, READING)
    for node in ("begin", "read"):
        await done(live, "stepExecution", id=run, nodeKey=node)
    await told(live, run, "NodeFailed", nodeKey="read")
    while (await standing(live, run))["status"] != "PAUSED":
        pass
    return run
