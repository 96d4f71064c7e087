"""A parallel group runs diagrams side by side: what each gets, and what becomes of their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dipeo_server.domains.diagram.executable import AfterCrash
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.execution.children import ChildResult, ChildRun
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.delta import StateDelta
from dipeo_server.domains.execution.document_parts import PartMissing
from dipeo_server.domains.execution.handlers.parallel import BranchFailed, ParallelProps
from dipeo_server.domains.execution.output import NodeOutput
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import FileMissing
from tests.domains.execution.handlers.visiting import (
    NOON,
    Children,
    Place,
    after_crash,
    ended,
    registration,
)

FAILED = ExecutionStatus.FAILED
ABORTED = ExecutionStatus.ABORTED


@pytest.fixture
def place(base_dir: Path) -> Place:
    children = Children(lambda child: ended(last=child.key, variables=child.variables))
    return Place(base_dir, key="Group", children=children, variables={"lang": "en", "n": 1})


def ending(place: Place, ends: Mapping[str, Any], order: Sequence[int] = ()) -> Place:
    """Branches end as `ends` says, by name; an error is one that keeps them from starting."""

    def behave(child: ChildRun) -> ChildResult:
        end = ends.get(child.key, ended(last=child.key, variables=child.variables))
        if isinstance(end, Exception):
            raise end
        assert isinstance(end, ChildResult)
        return end

    return replace(place, children=Children(behave, order=order))


def failed(code: str, second: int = 0, status: ExecutionStatus = FAILED) -> ChildResult:
    error = {"code": code, "message": f"{code} happened.", "node": "x"}
    return ended(status, error=error, ended_at=NOON + timedelta(seconds=second))


def branches(names: str, **more: Any) -> dict[str, Any]:
    return {name: {"diagram_name": name, **more} for name in names}


async def run(place: Place, names: str = "ab", **props: Any) -> tuple[NodeOutput, ExecutionContext]:
    result, ctx = await place.visit("parallel", {}, **{"branches": branches(names), **props})
    assert isinstance(result, NodeOutput)
    return result, ctx


# --- what a branch is, and what it gets


async def test_every_branch_begins_with_a_copy_of_the_variables(place: Place) -> None:
    """004-34."""
    output, _ = await run(place)
    assert place.children is not None
    assert place.children.started == [
        ChildRun(name, None, None, {"lang": "en", "n": 1}, name) for name in "ab"
    ]
    assert output.value == {"default": {"a": "a", "b": "b"}}


async def test_a_branch_may_be_written_out_and_get_values_of_its_own(place: Place) -> None:
    document: dict[str, Any] = {"nodes": [], "connections": []}
    written = {"a": {"diagram_data": document, "input_mapping": {"who": "default.name"}}}
    await place.visit("parallel", {"default": {"name": "Ann"}}, branches=written)
    assert place.children is not None
    child = place.children.started[0]
    assert (child.path, child.document, child.format) == (None, document, "light")
    assert child.variables == {"lang": "en", "n": 1, "who": "Ann"}


async def test_a_name_is_a_template(place: Place) -> None:
    await run(place, branches={"a": {"diagram_name": "flows/{lang}"}})
    assert place.children is not None
    assert place.children.started[0].path == "flows/en"


async def test_a_mapping_from_nothing_names_its_branch(place: Place) -> None:
    with pytest.raises(PartMissing, match="'Group', branch 'a': input_mapping: 'nobody'"):
        await run(place, branches=branches("a", input_mapping={"x": "nobody"}))


@pytest.mark.parametrize(
    "props, why",
    [
        ({}, "branches"),
        ({"branches": {}}, "at least 1"),
        ({"branches": {"a": {}}}, "diagram_name or diagram_data"),
        ({"branches": {"a": {"diagram_name": "x", "colour": "red"}}}, "colour"),
        ({"branches": branches("a"), "error_strategy": "hope"}, "fail_fast"),
        ({"branches": branches("a"), "max_concurrent": 0}, "max_concurrent"),
    ],
)
def test_what_makes_no_group_is_refused(props: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ParallelProps.model_validate(props)


async def test_so_many_at_once_as_is_said(place: Place) -> None:
    await run(place, max_concurrent=2)
    assert place.children is not None
    assert place.children.at_once == 2


def test_it_holds_no_place_and_runs_again_after_a_crash() -> None:
    assert not registration("parallel").spec.holds_slot
    assert after_crash("parallel", branches=branches("a")) is AfterCrash.RERUN


# --- what they did to the variables


def changed(**variables: Any) -> ChildResult:
    return ended(variables={"lang": "en", "n": 1} | variables)


async def test_what_a_branch_changed_is_told_with_what_it_began_with(place: Place) -> None:
    ends = {"a": changed(n=5, new=[1]), "b": ended(variables={"n": 1})}
    _, ctx = await run(ending(place, ends))
    before = {"lang": "en", "n": 1}
    assert ctx.deltas == [
        StateDelta({"n": 5, "new": [1]}, branch="a", before=before),
        StateDelta({}, ("lang",), branch="b", before=before),
    ]


async def test_what_is_a_branchs_own_is_not_told(place: Place) -> None:
    ends = {"a": changed(mine=7, **{"branch[check]": True})}
    own = branches("a", input_mapping={"mine": "n"})
    _, ctx = await run(ending(place, ends), branches=own)
    assert ctx.deltas == [StateDelta({}, branch="a", before={"lang": "en", "n": 1})]


# --- failures


async def test_the_first_failure_is_the_first_by_time(place: Place) -> None:
    """004-W15: not the first one in order, nor the first one that was told."""
    ends = {"a": failed("LATER", 2), "b": failed("FIRST", 1)}
    with pytest.raises(BranchFailed, match=r"FIRST happened.* LATER happened") as failure:
        await run(ending(place, ends), error_strategy="collect")
    assert failure.value.code == "FIRST"


async def test_fail_fast_starts_nothing_more(place: Place) -> None:
    """004-36."""
    told = ending(place, {"b": failed("BAD")}, order=(1, 0))
    with pytest.raises(BranchFailed, match="Branch 'b'") as failure:
        await run(told)
    assert failure.value.code == "BAD"
    assert told.children is not None
    assert [child.key for child in told.children.started] == ["b"]


async def test_collect_lets_all_end_and_tells_every_error(place: Place) -> None:
    """004-37, 004-W15."""
    ends = {"a": failed("ONE", 1), "c": failed("TWO", 2)}
    context = ending(place, ends).context("parallel", {})
    written = {"branches": branches("abc"), "error_strategy": "collect"}
    node = DomainNode("Group", "Group", "parallel", "Group", ParallelProps.model_validate(written))
    with pytest.raises(BranchFailed, match=r"2 of 3 branches.*ONE.*TWO") as failure:
        await registration("parallel").handler(node, context)
    assert failure.value.code == "ONE"
    assert [each.code for each in context.observed] == ["ONE", "TWO"]
    assert context.deltas == []


async def test_collect_partial_keeps_what_is_good(place: Place) -> None:
    """004-W15: the deltas of good branches are not lost."""
    ends = {"a": failed("BAD"), "b": changed(n=2)}
    output, ctx = await run(ending(place, ends), error_strategy="collect_partial")
    assert output.value == {"default": {"b": None}}
    assert [each.code for each in ctx.observed] == ["BAD"]
    assert [(delta.branch, delta.puts) for delta in ctx.deltas] == [("b", {"n": 2})]


async def test_collect_partial_fails_if_nothing_is_good(place: Place) -> None:
    ends = {"a": failed("BAD", 1), "b": failed("WORSE", 2)}
    with pytest.raises(BranchFailed, match="2 of 2") as failure:
        await run(ending(place, ends), error_strategy="collect_partial")
    assert failure.value.code == "BAD"


async def test_a_branch_that_was_aborted_or_cannot_start_has_failed(place: Place) -> None:
    """004-38: whatever ends a branch badly, the branch has failed and nothing else."""
    ends = {"a": ended(ABORTED, ended_at=NOON), "b": FileMissing("There is no 'b'.")}
    told = ending(place, ends)
    _, ctx = await run(told, "abc", error_strategy="collect_partial")
    assert [each.code for each in ctx.observed] == ["CANCELLED", "FILE_NOT_FOUND"]
    assert "was aborted" in ctx.observed[0].message
    assert "Branch 'b' cannot run: There is no 'b'." in ctx.observed[1].message
