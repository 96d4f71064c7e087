"""The checkpoints of a run, from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.outcome import ExitCode
from dipeo_server.cli.remote import Change, Document, Remote, Told, carry_out, change, missing

_FIELDS: Final = "id sequence trigger createdAt sizeBytes contentHash graphHash nextNode"

SAVE: Final = Change("saveCheckpoint", {"executionId": "ID!"}, f"checkpoint {{ {_FIELDS} }}")
DELETE: Final = Change("deleteCheckpoints", {"executionId": "ID!", "keep": "Int"}, "deletedCount")
CHECKPOINTS: Final = f"""
query Checkpoints($id: ID!, $after: String) {{
  execution(id: $id) {{
    checkpoints(first: 100, after: $after) {{
      nodes {{ {_FIELDS} }}
      pageInfo {{ hasNextPage endCursor }}
      totalCount
    }}
  }}
}}
"""


def list_checkpoints(remote: Remote, execution_id: str) -> ExitCode:
    """Tell which checkpoints a run has, newest first."""

    async def work(client: GraphQLClient) -> Told:
        found: list[Document] = []
        after: str | None = None
        while True:
            page = await _page(client, execution_id, after)
            found += page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        lines = [_line(each) for each in found] or ["There are no checkpoints."]
        return Told({"checkpoints": found}, lines)

    return carry_out(remote, work)


async def _page(client: GraphQLClient, execution_id: str, after: str | None) -> Document:
    variables = {"id": execution_id, "after": after}
    execution = (await client.execute(CHECKPOINTS, variables))["execution"]
    if execution is None:
        raise missing(execution_id)
    page: Document = execution["checkpoints"]
    return page


def save_checkpoint(remote: Remote, execution_id: str) -> ExitCode:
    """Keep the state of a run as it is now."""

    async def work(client: GraphQLClient) -> Told:
        payload = await change(client, remote, SAVE, {"executionId": execution_id})
        found = payload["checkpoint"]
        return Told({"checkpoint": found}, [_line(found)])

    return carry_out(remote, work)


def prune_checkpoints(remote: Remote, execution_id: str, keep: int) -> ExitCode:
    """Delete all but the newest so many."""

    async def work(client: GraphQLClient) -> Told:
        values = {"executionId": execution_id, "keep": keep}
        count = (await change(client, remote, DELETE, values))["deletedCount"]
        return Told({"deletedCount": count}, [f"deleted {count:,}"])

    return carry_out(remote, work)


def _line(found: Mapping[str, Any]) -> str:
    size = f"{found['sizeBytes']:,} bytes"
    trigger = found["trigger"].lower().replace("_", " ")
    then = f"next: {found['nextNode']}" if found["nextNode"] else ""
    return f"{found['sequence']:>8}  {trigger:<20} {size:>16}  {then}".rstrip()
