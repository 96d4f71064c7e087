"""What every store of diagrams decides alike: what is new, what is stale, what a key gets."""

from __future__ import annotations

import hashlib

from dipeo_server.domains.execution.diagram_store import (
    DiagramArchived,
    DiagramDocument,
    DiagramDraft,
    StaleRevision,
    StoredDiagram,
    StoredRevision,
)
from dipeo_server.domains.execution.ports import Idempotency, KeyedAnswer
from dipeo_server.errors import StorageError


def digest_of(text: str) -> str:
    """The name of a text among documents."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_same(head: StoredRevision, document: DiagramDocument) -> bool:
    """Would the document's revision be the same as the head?"""
    return (head.digest, head.content_hash, head.format, head.path) == (
        digest_of(document.text),
        document.content_hash,
        document.format,
        document.path,
    )


def check_update(diagram: StoredDiagram, expected: int) -> None:
    """May the diagram be changed by somebody who knows that revision?

    Raises DiagramArchived, StaleRevision.
    """
    if diagram.archived_at is not None:
        raise DiagramArchived(diagram.id)
    if diagram.head.number != expected:
        raise StaleRevision(diagram.id, expected, diagram.head)


def answer_of(diagram: StoredDiagram, key: Idempotency) -> KeyedAnswer:
    """What the key of a mutation is answered with, once the diagram is so."""
    return KeyedAnswer(key, {"diagram": diagram.id, "revision": diagram.head.number})


def no_document(revision: StoredRevision) -> StorageError:
    """The refusal of a revision whose document is gone: the store is damaged."""
    place = f"revision {revision.number} of diagram {revision.diagram_id!r}"
    return StorageError(f"The document of {place} is missing.")


def is_same_named(diagram: StoredDiagram, draft: DiagramDraft) -> bool:
    """Has the draft the diagram's name and description?"""
    return (diagram.name, diagram.description) == (draft.name, draft.description)
