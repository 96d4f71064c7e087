"""What the tests of stored diagrams send, and the shortest ways to send it."""

from __future__ import annotations

from typing import Any

from tests.api.serving import RUN, Live

ERRORS = """errors { __typename code message field hint
  ... on DiagramInvalid { problems { code line nodeKey } }
  ... on StaleRevision { head { id number contentHash } } }"""
DIAGRAM = """id name description createdAt updatedAt archivedAt
  head { id number contentHash createdAt }"""
CREATE = f"""mutation ($input: DiagramInput!, $key: String) {{
  createDiagram(input: $input, idempotencyKey: $key) {{
    diagram {{ {DIAGRAM} }} revision {{ id number }} {ERRORS} }} }}"""
UPDATE = f"""mutation ($id: ID!, $expected: Int!, $input: DiagramInput!, $key: String) {{
  updateDiagram(id: $id, expectedRevision: $expected, input: $input, idempotencyKey: $key) {{
    diagram {{ {DIAGRAM} }} revision {{ id number }} {ERRORS} }} }}"""
ARCHIVE = f"""mutation ($id: ID!, $key: String) {{
  archiveDiagram(id: $id, idempotencyKey: $key) {{
    diagram {{ {DIAGRAM} }} revision {{ id number }} {ERRORS} }} }}"""


async def create(live: Live, content: str, *, key: str | None = None, **fields: Any) -> Any:
    """The payload of createDiagram for a light document."""
    given = {"name": "plan", "content": content, **fields}
    return (await live.data(CREATE, input=given, key=key))["createDiagram"]


async def update(
    live: Live, id_: str, expected: int, content: str, *, key: str | None = None, **fields: Any
) -> Any:
    """The payload of updateDiagram for a light document."""
    given = {"name": "plan", "content": content, **fields}
    answer = await live.data(UPDATE, id=id_, expected=expected, input=given, key=key)
    return answer["updateDiagram"]


async def archive(live: Live, id_: str, *, key: str | None = None) -> Any:
    """The payload of archiveDiagram."""
    return (await live.data(ARCHIVE, id=id_, key=key))["archiveDiagram"]


async def created(live: Live, content: str, **fields: Any) -> Any:
    """A new diagram."""
    payload = await create(live, content, **fields)
    assert payload["errors"] == [], payload["errors"]
    return payload["diagram"]


async def run(live: Live, *, key: str | None = None, **source: Any) -> Any:
    """The payload of runDiagram for a stored diagram."""
    return (await live.data(RUN, input={"source": source}, key=key))["runDiagram"]


async def started(live: Live, **source: Any) -> str:
    """The id of a new run of a stored diagram."""
    payload = await run(live, **source)
    assert payload["errors"] == [], payload["errors"]
    found: str = payload["execution"]["id"]
    return found
