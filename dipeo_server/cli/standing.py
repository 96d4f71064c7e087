"""Where a run and its sub-diagrams stand: what waits for a person, and whether anything goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient, RequestRefused
from dipeo_server.cli.durations import seconds_of
from dipeo_server.cli.operations import SURVEY

SUB_DIAGRAM: Final = "SUB_DIAGRAM"


@dataclass(frozen=True, slots=True)
class WaitingBarrier:
    """A barrier that a person should decide; `type` is that of its node, in capitals."""

    id: str
    key: str
    label: str
    type: str
    occurrence: int
    prompt: Any
    answer_schema: Any

    @property
    def wants_answer(self) -> bool:
        """Is it a question, and not an approval?"""
        return self.type == "USER_RESPONSE"


@dataclass(frozen=True, slots=True)
class Pause:
    """What holds an execution, the limits it has, and the tokens it has used."""

    execution_id: str
    cause: str | None
    max_steps: int
    max_tokens: int | None
    max_seconds: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class Standing:
    """`is_held`: nothing goes on by itself until a person decides a barrier or resumes a run.

    `paused` are the executions that a pause holds.
    """

    is_held: bool
    barriers: tuple[WaitingBarrier, ...] = ()
    paused: tuple[Pause, ...] = ()


async def survey(client: GraphQLClient, execution_id: str) -> Standing:
    """How the execution and its children stand. Raises Unavailable, RequestRefused."""
    data = await client.execute(SURVEY, {"id": execution_id})
    execution = data["execution"]
    if execution is None:
        raise RequestRefused(f"There is no execution {execution_id!r}.", "NOT_FOUND")
    children = [
        await survey(client, child["id"])
        for child in execution["children"]["nodes"]
        if child["isActive"]
    ]
    # What its parent has paused goes on with it.
    is_paused = execution["status"] == "PAUSED" and execution["pauseCause"] != "parent"
    paused = (_pause(execution),) if is_paused else ()
    return Standing(
        is_held=_is_held(execution, children),
        barriers=(*_barriers(execution), *(each for child in children for each in child.barriers)),
        paused=(*paused, *(each for child in children for each in child.paused)),
    )


def _pause(execution: Mapping[str, Any]) -> Pause:
    return Pause(
        execution["id"],
        execution["pauseCause"],
        execution["maxSteps"],
        execution["maxTokens"],
        seconds_of(execution["maxTime"]),
        execution["tokenUsage"]["total"],
    )


def _is_held(execution: Mapping[str, Any], children: list[Standing]) -> bool:
    running = [state for state in execution["nodeStates"] if state["status"] == "RUNNING"]
    if any(_type(state) != SUB_DIAGRAM for state in running):
        return False
    if not all(child.is_held for child in children):
        return False
    if running:
        return bool(children)
    if execution["status"] == "PAUSED":
        return True
    return execution["status"] == "WAITING" and bool(execution["barriers"])


def _barriers(execution: Mapping[str, Any]) -> list[WaitingBarrier]:
    nodes = {state["nodeKey"]: state for state in execution["nodeStates"]}
    return [
        WaitingBarrier(
            id=found["id"],
            key=found["nodeKey"],
            label=(nodes.get(found["nodeKey"], {}).get("node") or {}).get(
                "label", found["nodeKey"]
            ),
            type=_type(nodes.get(found["nodeKey"], {})),
            occurrence=found["occurrence"],
            prompt=found["prompt"],
            answer_schema=found["answerSchema"],
        )
        for found in execution["barriers"]
    ]


def _type(state: Mapping[str, Any]) -> str:
    return str((state.get("node") or {}).get("type", ""))
