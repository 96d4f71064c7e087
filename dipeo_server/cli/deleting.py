"""Deleting a run at a server."""

from __future__ import annotations

from typing import Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.outcome import ExitCode
from dipeo_server.cli.remote import Change, Remote, Told, carry_out, change

DELETE: Final = Change("deleteExecution", {"id": "ID!"}, "deletedId")


def delete(remote: Remote, execution_id: str) -> ExitCode:
    """Delete a run that has ended."""

    async def work(client: GraphQLClient) -> Told:
        gone = (await change(client, remote, DELETE, {"id": execution_id}))["deletedId"]
        return Told({"deletedId": gone}, [f"deleted {gone}"])

    return carry_out(remote, work)
