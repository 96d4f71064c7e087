"""What is printed for other tools: the schema, and the reference of node types."""

from __future__ import annotations

import re
from pathlib import Path

from graphql import build_schema

from dipeo_server.cli.node_pages import pages
from dipeo_server.domains.diagram.spec import NodeSettings
from tests.cli.processes import dipeo

ROOT = Path(__file__).parents[2]


def test_the_schema_is_printed_and_can_be_read() -> None:
    done = dipeo("export-schema")
    assert (done.code, done.err) == (0, "")
    schema = build_schema(done.out)
    assert "CODE_JOB" in done.out
    assert schema.subscription_type is not None


def test_output_goes_to_a_file_on_request(tmp_path: Path) -> None:
    file = tmp_path / "nodes.md"
    done = dipeo("export-nodes", "--output", file)
    assert (done.code, done.out) == (0, "")
    assert file.read_text().startswith("# Node types")
    failed = dipeo("export-nodes", "--output", tmp_path / "none" / "nodes.md")
    assert (failed.code, failed.out) == (2, "")
    assert "Cannot write" in failed.err


def test_docs_nodes_is_what_the_code_says() -> None:
    current = dipeo("export-nodes")
    written = (ROOT / "docs" / "nodes.md").read_text()
    assert written == current.out, "docs/nodes.md is out of date; run: make docs"


def test_the_settings_of_every_node_are_all_told() -> None:
    table = pages([]).partition("## Settings of every node")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(NodeSettings.model_fields)
