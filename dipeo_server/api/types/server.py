"""What the server tells about itself."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.types.described import object_type
from dipeo_server.api.types.enums import ErrorCode


@object_type
class ServerInfo:
    """What the server is, and what it allows."""

    version: str = strawberry.field(description="Its version.")
    schema_hash: str = strawberry.field(description="Hash of the schema it serves.")
    isolation: str = strawberry.field(description="What holds the code of diagrams in.")
    limits: JSON = strawberry.field(description="Every limit by its name.")
    store: str = strawberry.field(description="What keeps its runs.")
    storage_problem: ErrorCode | None = strawberry.field(
        description="Why no change can be stored at present (STORAGE_FULL); null = it can."
    )
    runner: str = strawberry.field(description="What runs them.")
