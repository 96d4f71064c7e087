"""Forking a run at a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dipeo_server.cli.assignments import split, variables
from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.outcome import ExitCode
from dipeo_server.cli.remote import Change, Remote, Told, carry_out, change, given
from dipeo_server.cli.steering import key_of

FORK: Final = Change(
    "forkExecution",
    {
        "id": "ID!",
        "atSequence": "Sequence!",
        "overrides": "ForkOverrides",
        "startPaused": "Boolean",
    },
    "execution { id status forkedAt parent { id } lastSequence }",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Behind which event, and what is different; variables and outputs are NAME=VALUE."""

    at: int
    variables: Sequence[str]
    outputs: Sequence[str]
    is_paused: bool


def fork(remote: Remote, execution_id: str, wish: Wish) -> ExitCode:
    """Let another run go on from where one was."""

    async def work(client: GraphQLClient) -> Told:
        outputs = {
            await key_of(client, execution_id, name): value
            for name, value in (split(text, "--output") for text in wish.outputs)
        }
        overrides = given(variables=variables(wish.variables) or None, outputs=outputs or None)
        arguments = given(
            id=execution_id,
            atSequence=str(wish.at),
            overrides=overrides or None,
            startPaused=wish.is_paused or None,
        )
        execution = (await change(client, remote, FORK, arguments))["execution"]
        line = f"{execution['status']}  {execution['id']}  (from {wish.at} of {execution_id})"
        return Told(execution, [line])

    return carry_out(remote, work)
