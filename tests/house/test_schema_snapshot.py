"""`schema.graphql` is what the code prints: what clients see changes only on purpose."""

from __future__ import annotations

import difflib

from dipeo_server.api.schema import print_schema_sdl
from dipeo_server.node_types import built_in_node_types
from tests.conftest import ROOT


def test_the_printed_schema_is_the_one_in_the_repository() -> None:
    kept = (ROOT / "schema.graphql").read_text("utf-8")
    printed = print_schema_sdl(built_in_node_types().specs).rstrip("\n") + "\n"
    changes = "\n".join(
        difflib.unified_diff(
            kept.splitlines(), printed.splitlines(), "kept", "printed", lineterm=""
        )
    )
    assert not changes, f"the schema changed; run `make schema`:\n{changes}"
