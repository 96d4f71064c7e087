"""What the client of the tests asks a server: its GraphQL documents."""

from __future__ import annotations

from typing import Final

_REFUSAL: Final = """errors {
  __typename code message hint field
  ... on DiagramInvalid { problems { severity code message hint nodeKey edgeKey line column } }
}"""
_ERROR: Final = "error { code message hint nodeKey }"
_BARRIER: Final = "id nodeKey occurrence status prompt answerSchema decidedBy reason"
_EXECUTION: Final = f"""
  id status isActive lastSequence variables {_ERROR}
  nodeStates {{ nodeKey status occurrence attempt skipReason {_ERROR} output {{ body }} }}
  barriers(status: WAITING) {{ {_BARRIER} }}
"""

LOOK: Final = f"query ($id: ID!) {{ execution(id: $id) {{ {_EXECUTION} }} }}"


def mutation(name: str, **types: str) -> str:
    """The document of a mutation of runs; its variables are its arguments, of these types."""
    return _mutation(name, "execution { id }", types)


def decision(name: str, **types: str) -> str:
    """The document of a mutation that decides; its variables are its arguments."""
    return _mutation(name, f"barrier {{ {_BARRIER} }} earlyDecision {{ id }}", types)


def _mutation(name: str, payload: str, types: dict[str, str]) -> str:
    declared = ", ".join(f"${each}: {type_}" for each, type_ in types.items())
    passed = ", ".join(f"{each}: ${each}" for each in types)
    return (
        f"mutation ({declared}, $key: String) {{\n"
        f"  {name}({passed}, idempotencyKey: $key) {{ {payload} {_REFUSAL} }}\n}}"
    )


_RUN: Final = {"id": "ID!"}
_NODE: Final = {"executionId": "ID!", "nodeKey": "String!"}

START: Final = mutation("runDiagram", input="RunDiagramInput!")
PAUSE: Final = mutation("pauseExecution", **_RUN, mode="PauseMode", reason="String")
RESUME: Final = mutation("resumeExecution", **_RUN, variables="JSON", maxSteps="Int")
ABORT: Final = mutation("abortExecution", **_RUN, reason="String")
STEP: Final = mutation("stepExecution", **_RUN, nodeKey="String")
RETRY: Final = mutation("retryNode", **_NODE)
SKIP: Final = mutation("skipNode", **_NODE, reason="String")
SET_OUTPUT: Final = mutation("setNodeOutput", **_NODE, output="JSON!")
FORK: Final = mutation(
    "forkExecution",
    **_RUN,
    atSequence="Sequence!",
    overrides="ForkOverrides",
    startPaused="Boolean",
)
MUTATE: Final = mutation("mutateGraph", executionId="ID!", mutations="[GraphMutationInput!]!")
DECIDE: Final = decision(
    "decideBarrier",
    target="BarrierTarget!",
    action="BarrierAction!",
    reason="String",
    answer="JSON",
    variables="JSON",
    reroute="String",
)
