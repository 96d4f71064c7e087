"""Clients go on working: what a release took away from the schema needs another version first."""

from __future__ import annotations

import subprocess

import pytest
from graphql import build_schema, find_breaking_changes

from dipeo_server import __version__
from tests.conftest import ROOT

RELEASED = """
type Query { run(id: ID!): Run old: String }
type Run { id: ID! status: Status! }
enum Status { RUNNING ENDED }
"""


def breaking(before: str, after: str) -> list[str]:
    """What clients of one schema would miss in another."""
    found = find_breaking_changes(build_schema(before), build_schema(after))
    return sorted(change.description for change in found)


def is_compatible(released: str, version: str) -> bool:
    """Does a version promise to clients of a released one that nothing breaks? (SemVer 2, 4.)"""
    then, now = (
        [int(part) for part in text.removeprefix("v").split(".")[:2]]
        for text in (released, version)
    )
    return then[0] == now[0] and (then[0] > 0 or then[1] == now[1])


def git(*arguments: str) -> str | None:
    """What git says; None where it cannot."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def test_the_schema_of_the_last_release_is_kept() -> None:
    tag = (git("describe", "--tags", "--abbrev=0", "--match", "v*") or "").strip()
    if not tag:
        pytest.skip("nothing has been released: there is no tag v*")
    released = git("show", f"{tag}:schema.graphql")
    assert released is not None, f"{tag} has no schema.graphql"
    found = breaking(released, (ROOT / "schema.graphql").read_text("utf-8"))
    if is_compatible(tag, __version__):
        lines = "\n  ".join(found)
        assert not found, f"{__version__} breaks clients of {tag}:\n  {lines}"


@pytest.mark.parametrize(
    "change, told",
    [
        ((" old: String", ""), "Query.old was removed."),
        (("ENDED", "DONE"), "Status.ENDED was removed."),
        (
            ("run(id: ID!)", "run(id: ID!, now: Boolean!)"),
            "required argument Query.run(now:) was added",
        ),
        (("status: Status!", "status: Status"), "Run.status changed type from Status! to Status."),
    ],
)
def test_what_clients_would_miss_is_found(change: tuple[str, str], told: str) -> None:
    [found] = breaking(RELEASED, RELEASED.replace(*change))
    assert told in found


@pytest.mark.parametrize(
    "change",
    [
        ("old: String", "old: String new: Int"),
        ("RUNNING", "RUNNING PAUSED"),
        ("run(id: ID!)", "run(id: ID!, now: Boolean)"),
        ("old: String", 'old: String @deprecated(reason: "Ask for `run`.")'),
    ],
)
def test_additions_break_nobody(change: tuple[str, str]) -> None:
    assert breaking(RELEASED, RELEASED.replace(*change)) == []


@pytest.mark.parametrize(
    "released, version, expected",
    [
        ("v0.1.0", "0.1.3", True),
        ("v0.1.0", "0.2.0", False),
        ("v1.2.0", "1.9.0", True),
        ("v1.2.0", "2.0.0", False),
    ],
)
def test_only_a_new_major_version_may_break(released: str, version: str, expected: bool) -> None:
    assert is_compatible(released, version) is expected
