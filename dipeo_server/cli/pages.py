"""Lists of a run that come page by page: its stored events, what its nodes printed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.remote import missing
from dipeo_server.cli.telling import Event

PAGE: Final = 200


async def stored(
    client: GraphQLClient, document: str, field: str, variables: Mapping[str, Any]
) -> AsyncGenerator[Event, None]:
    """Everything there is now of the run `id` of `variables`, in order.

    Raises RequestRefused, ServerUnreachable.
    """
    wanted = {**variables, "first": PAGE}
    while True:
        execution = (await client.execute(document, wanted))["execution"]
        if execution is None:
            raise missing(wanted["id"])
        page = execution[field]
        for item in page["nodes"]:
            yield item
        if not page["pageInfo"]["hasNextPage"]:
            return
        wanted["after"] = page["pageInfo"]["endCursor"]
