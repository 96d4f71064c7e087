"""Changing the graph of a run at a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.outcome import ExitCode, Unusable
from dipeo_server.cli.remote import Change, Remote, Told, carry_out, change

MUTATE: Final = Change(
    "mutateGraph",
    {"executionId": "ID!", "mutations": "[GraphMutationInput!]!"},
    "execution { id status lastSequence revision { number contentHash } }",
)
PREVIEW: Final = """query($id: ID!, $mutations: [GraphMutationInput!]!) {
  previewGraphMutation(executionId: $id, mutations: $mutations) {
    kept rerun unreachable problems { severity code message hint nodeKey edgeKey }
  }
}"""


def mutate(remote: Remote, execution_id: str, file: str, *, is_preview: bool) -> ExitCode:
    """Make the changes in a file, or tell what they would come to."""

    async def work(client: GraphQLClient) -> Told:
        mutations = _read(file)
        if is_preview:
            variables = {"id": execution_id, "mutations": mutations}
            return _impact((await client.execute(PREVIEW, variables))["previewGraphMutation"])
        wanted = {"executionId": execution_id, "mutations": mutations}
        execution = (await change(client, remote, MUTATE, wanted))["execution"]
        number = execution["revision"]["number"]
        line = f"{execution['status']}  {execution['id']}  revision {number}"
        return Told(execution, [line])

    return carry_out(remote, work)


def _impact(found: dict[str, Any]) -> Told:
    lines = [
        f"{name}: {', '.join(found[name])}"
        for name in ("kept", "rerun", "unreachable")
        if found[name]
    ]
    lines += [f"{each['severity'].lower()}: {each['message']}" for each in found["problems"]]
    is_refused = any(each["severity"] == "ERROR" for each in found["problems"])
    return Told(found, lines, ExitCode.FAILED if is_refused else ExitCode.COMPLETED)


def _read(file: str) -> list[Any]:
    """The changes in a JSON file, or from standard input. Raises Unusable."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise Unusable(f"--file {file}: {error}") from error
    if not isinstance(found, list):
        hint = 'Such as [{"deleteNode": "review"}].'
        raise Unusable(f"--file {file}: the changes must be a list.", hint=hint)
    return found
