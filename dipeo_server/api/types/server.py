"""What the server tells about itself."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from dipeo_server.api.types.described import object_type


@object_type
class ServerInfo:
    """What the server is, and what it allows."""

    version: str = strawberry.field(description="Its version.")
    schema_hash: str = strawberry.field(description="Hash of the schema it serves.")
    isolation: str = strawberry.field(description="What holds the code of diagrams in.")
    limits: JSON = strawberry.field(description="Every limit by its name.")
    store: str = strawberry.field(description="What keeps its runs.")
    runner: str = strawberry.field(description="What runs them.")
