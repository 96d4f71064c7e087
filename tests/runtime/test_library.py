"""The library: ids, times, and keys of mutations that are sent twice at once."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from dipeo_server.domains.execution.diagram_store import (
    DiagramDocument,
    DiagramDraft,
    DiagramQuery,
    StaleRevision,
)
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.runner import IdempotencyKey
from dipeo_server.errors import IdempotencyMismatch, NotFound
from dipeo_server.runtime.clock import SystemClock
from dipeo_server.runtime.library import Library
from dipeo_server.storage.memory import MemoryStore

DRAFT = DiagramDraft("plan", None, DiagramDocument("text", "light", None, "hash"))
KEY = IdempotencyKey("anna", "k", "createDiagram", "request")


def draft(text: str) -> DiagramDraft:
    return replace(DRAFT, document=replace(DRAFT.document, text=text))


@pytest.fixture
def library() -> Library:
    store = MemoryStore()
    return Library(store.diagrams, store, SystemClock())


async def test_every_diagram_has_an_id_of_its_own(library: Library) -> None:
    made = [(await library.create(DRAFT)).diagram.id for _ in range(3)]
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"diagram_[a-z2-7]{26}", id_) for id_ in made)


async def test_what_was_sent_twice_at_once_is_done_once(library: Library) -> None:
    accepted = await asyncio.gather(*(library.create(DRAFT, KEY) for _ in range(50)))
    assert sum(not each.is_repeat for each in accepted) == 1
    assert len({each.diagram.id for each in accepted}) == 1
    assert (await library.list_diagrams(DiagramQuery())).total == 1


async def test_an_update_sent_twice_at_once_is_not_stale_for_itself(library: Library) -> None:
    made = (await library.create(DRAFT)).diagram
    updates = (
        library.update(
            made.id, draft("new"), expected=1, key=replace(KEY, mutation="updateDiagram")
        )
        for _ in range(50)
    )
    accepted = await asyncio.gather(*updates)
    assert {each.revision.number for each in accepted} == {2}
    assert sum(not each.is_repeat for each in accepted) == 1


async def test_a_repeat_is_answered_with_what_the_first_one_made(library: Library) -> None:
    made = (await library.create(DRAFT, KEY)).diagram
    changed = await library.update(made.id, draft("new"), expected=1)
    again = await library.create(DRAFT, KEY)
    assert (again.is_repeat, again.revision.number) == (True, 1)
    assert again.diagram == changed.diagram


async def test_a_key_with_another_request_is_refused_and_does_nothing(library: Library) -> None:
    await library.create(DRAFT, KEY)
    for other in (replace(KEY, request_hash="other"), replace(KEY, mutation="updateDiagram")):
        with pytest.raises(IdempotencyMismatch):
            await library.create(DRAFT, other)
    assert (await library.list_diagrams(DiagramQuery())).total == 1


async def test_what_was_refused_leaves_its_key_free(library: Library) -> None:
    made = (await library.create(DRAFT)).diagram
    with pytest.raises(StaleRevision):
        await library.update(made.id, draft("new"), expected=7, key=KEY)
    assert await library.answered(KEY) is None
    assert not (await library.create(DRAFT, KEY)).is_repeat


async def test_whoever_watches_sees_the_newest_state_and_the_end(library: Library) -> None:
    """Changes that come faster than they are read are told as one."""
    made = (await library.create(DRAFT)).diagram
    watching = library.watch(made.id)
    assert await anext(watching) == made
    for number in range(1, 11):
        await library.update(made.id, draft(f"text {number}"), expected=number)
    assert (await anext(watching)).head.number == 11
    waiting = asyncio.create_task(anext(watching))
    await asyncio.sleep(0)
    archived = (await library.archive(made.id)).diagram
    assert await waiting == archived
    assert [each async for each in watching] == []


async def test_what_changes_nothing_is_not_told(library: Library) -> None:
    made = (await library.create(DRAFT)).diagram
    watching = library.watch(made.id)
    assert await anext(watching) == made
    waiting = asyncio.create_task(anext(watching))
    await asyncio.sleep(0)
    await library.update(made.id, DRAFT, expected=1)
    changed = (await library.update(made.id, draft("new"), expected=1)).diagram
    assert await waiting == changed
    await watching.aclose()


async def test_nobody_watches_what_is_not_there(library: Library) -> None:
    with pytest.raises(NotFound, match="diagram_no"):
        await anext(library.watch(DiagramID("diagram_no")))
