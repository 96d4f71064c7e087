"""What every store must do with diagrams; a test of a store gives the fixture `store`."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dipeo_server.domains.execution.diagram_store import (
    DiagramArchived,
    DiagramDocument,
    DiagramDraft,
    DiagramQuery,
    StaleRevision,
    StoredDiagram,
)
from dipeo_server.domains.execution.ids import DiagramID
from dipeo_server.domains.execution.ports import Idempotency
from dipeo_server.errors import IdempotencyMismatch, InvalidInput, NotFound, StorageError
from dipeo_server.storage.opening import Store
from tests.storage.records import NOON, ONE, extend, keyed

LATER = NOON + timedelta(minutes=1)


def diagram(number: int) -> DiagramID:
    return DiagramID(f"diagram_{number:026d}")


FIRST, SECOND = diagram(1), diagram(2)


def draft(
    text: str = "version: light", *, name: str = "plan", description: str | None = None, **more: Any
) -> DiagramDraft:
    document = DiagramDocument(text, "light", None, f"hash of {text}")
    return DiagramDraft(name, description, replace(document, **more))


def key(name: str, *, hours: float = 24) -> Idempotency:
    return replace(keyed(name).idempotency, expires_at=NOON + timedelta(hours=hours))


async def create(store: Store, id_: DiagramID, text: str = "one", **names: Any) -> StoredDiagram:
    return await store.diagrams.create(id_, draft(text, **names), at=NOON)


class Keeping:
    async def test_what_was_created_is_read_back(self, store: Store) -> None:
        wish = draft(
            "Grüße 🚀\n", name="Plan B", description="why", format="native", path="a/b.json"
        )
        made = await store.diagrams.create(FIRST, wish, at=NOON)
        assert await store.diagrams.find(FIRST) == made
        assert (made.id, made.name, made.description) == (FIRST, "Plan B", "why")
        assert (made.created_at, made.updated_at, made.archived_at) == (NOON, NOON, None)
        head = made.head
        assert (head.diagram_id, head.number, head.created_at) == (FIRST, 1, NOON)
        assert (head.format, head.path, head.content_hash) == (
            "native",
            "a/b.json",
            "hash of Grüße 🚀\n",
        )
        assert await store.diagrams.text(head) == "Grüße 🚀\n"

    async def test_what_was_never_created_is_not_there(self, store: Store) -> None:
        assert await store.diagrams.find(FIRST) is None
        assert await store.diagrams.find_by_name("plan") is None
        assert await store.diagrams.revision(FIRST, 1) is None
        assert (await store.diagrams.revisions(FIRST, first=5)).items == ()

    async def test_an_update_adds_a_revision_and_keeps_the_old_one(self, store: Store) -> None:
        made = await create(store, FIRST, "one")
        wish = draft("two", name="new", description="better")
        changed = await store.diagrams.update(FIRST, wish, expected=1, at=LATER)
        assert (changed.head.number, changed.head.created_at) == (2, LATER)
        assert (changed.name, changed.description) == ("new", "better")
        assert (changed.created_at, changed.updated_at) == (NOON, LATER)
        assert await store.diagrams.find(FIRST) == changed
        assert await store.diagrams.revision(FIRST, 1) == made.head
        assert await store.diagrams.revision(FIRST, 2) == changed.head
        assert await store.diagrams.text(made.head) == "one"
        assert await store.diagrams.text(changed.head) == "two"

    async def test_an_old_document_may_come_back_as_a_new_revision(self, store: Store) -> None:
        await create(store, FIRST, "one")
        await store.diagrams.update(FIRST, draft("two"), expected=1, at=LATER)
        third = await store.diagrams.update(FIRST, draft("one"), expected=2, at=LATER)
        assert third.head.number == 3
        assert await store.diagrams.text(third.head) == "one"

    async def test_the_same_document_is_the_same_revision(self, store: Store) -> None:
        made = await create(store, FIRST, "one")
        assert await store.diagrams.update(FIRST, draft("one"), expected=1, at=LATER) == made
        renamed = await store.diagrams.update(
            FIRST, draft("one", name="other"), expected=1, at=LATER
        )
        assert (renamed.name, renamed.updated_at, renamed.head) == ("other", LATER, made.head)

    @pytest.mark.parametrize("change", [{"path": "x"}, {"format": "native"}, {"content_hash": "x"}])
    async def test_what_a_document_means_is_part_of_it(
        self, store: Store, change: dict[str, str]
    ) -> None:
        await create(store, FIRST, "one")
        wish = draft("one", **change)
        changed = await store.diagrams.update(FIRST, wish, expected=1, at=LATER)
        assert changed.head.number == 2

    async def test_a_document_may_be_kept_by_several_diagrams(self, store: Store) -> None:
        for id_ in (FIRST, SECOND):
            assert await store.diagrams.text((await create(store, id_, "same")).head) == "same"


class Refusing:
    async def test_a_stale_update_learns_where_the_head_is(self, store: Store) -> None:
        await create(store, FIRST)
        changed = await store.diagrams.update(FIRST, draft("two"), expected=1, at=LATER)
        for expected in (0, 1, 3):
            with pytest.raises(StaleRevision, match=f"at revision 2, not {expected}") as refusal:
                await store.diagrams.update(
                    FIRST, draft("three"), expected=expected, at=LATER, key=key("k")
                )
            assert refusal.value.head == changed.head
        assert await store.diagrams.find(FIRST) == changed
        assert await store.find_answer("anna", "k", now=NOON) is None

    async def test_of_updates_that_race_one_wins(self, store: Store) -> None:
        await create(store, FIRST)
        wishes = [draft(f"text {number}") for number in range(20)]
        racing = [store.diagrams.update(FIRST, wish, expected=1, at=LATER) for wish in wishes]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        [won] = [each for each in outcomes if isinstance(each, StoredDiagram)]
        assert sum(isinstance(each, StaleRevision) for each in outcomes) == 19
        assert await store.diagrams.find(FIRST) == won
        assert won.head.number == 2
        assert (await store.diagrams.revisions(FIRST, first=9)).total == 2

    async def test_nothing_can_be_done_to_what_is_not_there(self, store: Store) -> None:
        with pytest.raises(NotFound, match=FIRST):
            await store.diagrams.update(FIRST, draft(), expected=1, at=NOON)
        with pytest.raises(NotFound, match=FIRST):
            await store.diagrams.archive(FIRST, at=NOON, key=key("k"))
        assert await store.find_answer("anna", "k", now=NOON) is None

    async def test_what_is_archived_is_read_and_not_changed(self, store: Store) -> None:
        made = await create(store, FIRST)
        archived = await store.diagrams.archive(FIRST, at=LATER)
        assert archived == replace(made, archived_at=LATER, updated_at=LATER)
        assert await store.diagrams.archive(FIRST, at=LATER + timedelta(hours=1)) == archived
        with pytest.raises(DiagramArchived):
            await store.diagrams.update(FIRST, draft("two"), expected=1, at=LATER)
        assert await store.diagrams.find(FIRST) == archived
        assert await store.diagrams.find_by_name("plan") is None
        assert await store.diagrams.text(archived.head) == "one"


class Names:
    async def test_the_newest_of_that_name_is_found(self, store: Store) -> None:
        await create(store, FIRST, name="plan")
        second = await create(store, SECOND, name="plan")
        await create(store, diagram(3), name="Plan")
        assert await store.diagrams.find_by_name("plan") == second
        await store.diagrams.archive(SECOND, at=LATER)
        found = await store.diagrams.find_by_name("plan")
        assert found is not None
        assert found.id == FIRST

    async def test_a_diagram_is_found_by_its_new_name_only(self, store: Store) -> None:
        await create(store, FIRST, name="old")
        await store.diagrams.update(FIRST, draft(name="new"), expected=1, at=LATER)
        assert await store.diagrams.find_by_name("old") is None
        assert await store.diagrams.find_by_name("new") is not None


class DiagramLists:
    @pytest.mark.parametrize("size", [1, 3, 4, 10])
    async def test_pages_forward_and_back_give_the_whole_list(
        self, store: Store, size: int
    ) -> None:
        for number in (5, 3, 9, 7, 1):
            await create(store, diagram(number))
        newest_first = [diagram(number) for number in (1, 7, 9, 3, 5)]
        seen: list[DiagramID] = []
        query = DiagramQuery(first=size)
        while items := (page := await store.diagrams.list_diagrams(query)).items:
            assert (page.has_previous, page.total) == (bool(seen), 5)
            seen += [item.id for item in items]
            assert page.has_next == (len(seen) < 5)
            query = DiagramQuery(first=size, after=items[-1].id)
        assert seen == newest_first
        seen, query = [], DiagramQuery(last=size)
        while items := (page := await store.diagrams.list_diagrams(query)).items:
            assert page.has_next == bool(seen)
            seen = [item.id for item in items] + seen
            assert page.has_previous == (len(seen) < 5)
            query = DiagramQuery(last=size, before=items[0].id)
        assert seen == newest_first

    async def test_what_is_listed_is_what_is_found(self, store: Store) -> None:
        made = await create(store, FIRST, description="why")
        await create(store, SECOND)
        changed = await store.diagrams.update(FIRST, draft("two"), expected=1, at=LATER)
        page = await store.diagrams.list_diagrams(DiagramQuery())
        assert page.items == (await store.diagrams.find(SECOND), changed)
        assert made.head != changed.head

    async def test_an_empty_list_is_a_page(self, store: Store) -> None:
        page = await store.diagrams.list_diagrams(DiagramQuery())
        assert (page.items, page.total, page.has_next, page.has_previous) == ((), 0, False, False)

    @pytest.mark.parametrize(
        "field, query",
        [("after", DiagramQuery(after=SECOND)), ("before", DiagramQuery(before=SECOND))],
    )
    async def test_a_cursor_of_no_diagram_is_refused(
        self, store: Store, field: str, query: DiagramQuery
    ) -> None:
        await create(store, FIRST)
        with pytest.raises(InvalidInput, match=f"`{field}` is the cursor of a diagram") as refusal:
            await store.diagrams.list_diagrams(query)
        assert refusal.value.field == (field,)

    async def test_a_part_of_the_name_chooses_in_any_case(self, store: Store) -> None:
        for number, name in enumerate(["Straße 1", "strasse 2", "100%_[x]", "abc"]):
            await create(store, diagram(number), name=name)

        async def chosen(part: str) -> list[int]:
            page = await store.diagrams.list_diagrams(DiagramQuery(name_contains=part))
            assert page.total == len(page.items)
            return [int(item.id[-1]) for item in page.items]

        assert await chosen("STRASSE") == [1, 0]
        assert await chosen("%_[") == [2]
        assert await chosen("%") == [2]
        assert await chosen("") == [3, 2, 1, 0]
        assert await chosen("nothing") == []

    async def test_archived_ones_are_listed_where_asked_for(self, store: Store) -> None:
        for number in range(3):
            await create(store, diagram(number))
        await store.diagrams.archive(diagram(1), at=LATER)
        page = await store.diagrams.list_diagrams(DiagramQuery())
        assert ([item.id[-1] for item in page.items], page.total) == (["2", "0"], 2)
        page = await store.diagrams.list_diagrams(DiagramQuery(include_archived=True))
        assert ([item.id[-1] for item in page.items], page.total) == (["2", "1", "0"], 3)

    async def test_what_lies_around_a_page_of_diagrams_is_told_exactly(self, store: Store) -> None:
        ids = [diagram(number) for number in range(4)]
        for number, id_ in enumerate(ids):
            await create(store, id_, name="even" if number % 2 == 0 else "odd")
        for cursor, size, is_backward in itertools.product(ids, (1, 2, 9), (False, True)):
            query = DiagramQuery("even", first=size, after=cursor)
            if is_backward:
                query = DiagramQuery("even", last=size, before=cursor)
            page = await store.diagrams.list_diagrams(query)
            place = ids.index(cursor)
            if is_backward:
                within = [number for number in (2, 0) if number > place][-size:]
            else:
                within = [number for number in (2, 0) if number < place][:size]
            assert [item.id for item in page.items] == [ids[number] for number in within]
            newest = within[0] if within else (place if is_backward else place - 1)
            oldest = within[-1] if within else (place + 1 if is_backward else place)
            assert page.has_previous == any(number > newest for number in (2, 0)), query
            assert page.has_next == any(number < oldest for number in (2, 0)), query


class Revisions:
    async def test_revisions_are_paged_newest_first(self, store: Store) -> None:
        await create(store, FIRST, "text 1")
        await create(store, SECOND)
        for number in range(1, 5):
            wish = draft(f"text {number + 1}")
            await store.diagrams.update(FIRST, wish, expected=number, at=LATER)
        seen: list[int] = []
        before: int | None = None
        while items := (
            page := await store.diagrams.revisions(FIRST, first=2, before=before)
        ).items:
            assert (page.has_previous, page.total) == (bool(seen), 5)
            for each in items:
                assert await store.diagrams.revision(FIRST, each.number) == each
                assert await store.diagrams.text(each) == f"text {each.number}"
            seen += [each.number for each in items]
            assert page.has_next == (len(seen) < 5)
            before = items[-1].number
        assert seen == [5, 4, 3, 2, 1]

    @pytest.mark.parametrize("number", [-1, 0, 2, 2**40])
    async def test_there_are_no_revisions_beyond_the_ends(self, store: Store, number: int) -> None:
        await create(store, FIRST)
        assert await store.diagrams.revision(FIRST, number) is None


class Keys:
    async def test_the_key_is_kept_with_what_it_did(self, store: Store) -> None:
        await store.diagrams.create(FIRST, draft("one"), at=NOON, key=key("a"))
        await store.diagrams.update(FIRST, draft("two"), expected=1, at=NOON, key=key("b"))
        await store.diagrams.archive(FIRST, at=NOON, key=key("c"))
        for name, revision in (("a", 1), ("b", 2), ("c", 2)):
            answer = await store.find_answer("anna", name, now=NOON)
            assert answer is not None
            assert answer.answer == {"diagram": FIRST, "revision": revision}
            assert (answer.mutation, answer.request_hash) == ("runDiagram", "hash")

    async def test_a_key_in_use_undoes_the_change(self, store: Store) -> None:
        await extend(store, ONE, keys=[keyed("k")])
        made = await create(store, FIRST)
        for change in (
            store.diagrams.create(SECOND, draft(), at=NOON, key=key("k")),
            store.diagrams.update(FIRST, draft("two"), expected=1, at=NOON, key=key("k")),
            store.diagrams.archive(FIRST, at=NOON, key=key("k")),
        ):
            with pytest.raises(IdempotencyMismatch, match="'k' is in use already"):
                await change
        assert await store.diagrams.find(SECOND) is None
        assert await store.diagrams.find(FIRST) == made
        assert (await store.diagrams.revisions(FIRST, first=5)).total == 1

    async def test_a_key_that_has_expired_may_be_used_again(self, store: Store) -> None:
        await store.diagrams.create(FIRST, draft(), at=NOON, key=key("k", hours=1))
        later = NOON + timedelta(hours=1)
        await store.diagrams.create(SECOND, draft(), at=later, key=key("k", hours=2))
        answer = await store.find_answer("anna", "k", now=later)
        assert answer is not None
        assert answer.answer["diagram"] == SECOND

    async def test_of_a_hundred_creations_with_one_key_one_commits(self, store: Store) -> None:
        racing = [
            store.diagrams.create(diagram(number), draft(), at=NOON, key=key("k"))
            for number in range(100)
        ]
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        assert sum(isinstance(outcome, IdempotencyMismatch) for outcome in outcomes) == 99
        assert (await store.diagrams.list_diagrams(DiagramQuery())).total == 1


class ClosingDiagrams:
    async def test_a_closed_store_refuses_diagrams(self, store: Store) -> None:
        made = await create(store, FIRST)
        await store.close()
        for request in (
            store.diagrams.create(SECOND, draft(), at=NOON),
            store.diagrams.update(FIRST, draft("two"), expected=1, at=NOON),
            store.diagrams.archive(FIRST, at=NOON),
            store.diagrams.find(FIRST),
            store.diagrams.find_by_name("plan"),
            store.diagrams.list_diagrams(DiagramQuery()),
            store.diagrams.revision(FIRST, 1),
            store.diagrams.revisions(FIRST, first=1),
            store.diagrams.text(made.head),
        ):
            with pytest.raises(StorageError, match="closed"):
                await request


class DiagramConformance(Keeping, Refusing, Names, DiagramLists, Revisions, Keys, ClosingDiagrams):
    """All of it; a subclass has the fixture `store`."""
