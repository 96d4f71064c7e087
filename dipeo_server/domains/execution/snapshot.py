"""An execution's state as plain JSON, and back: all of it but the diagram, which the log holds.

An envelope is in it once, however many tokens carry it. Bodies that are large are not in it: their
envelopes say which event of the log holds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final

import orjson

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.difference import apply
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.shapes import Shape, Shapes, written_fields
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.errors import DamagedCheckpoint

FORMAT: Final = 1
"""Of what this version writes; it ignores checkpoints that are of another."""

BODY_WEIGHT_MAX: Final = 1_024
"""Of bodies that are written: about their length as JSON."""

Document = dict[str, Any]

_OUTSIDE: Final = frozenset({"diagram", "touched"})
_PLACE: Final = "seq"
_NESTING_WEIGHT: Final = 8


class _Envelopes:
    """The envelopes of one document: each has a key, by the event that it came with."""

    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        self.found: dict[tuple[int, int], Envelope] = {}

    def key_of(self, envelope: Envelope) -> str:
        """Its key; equal envelopes of one event have one."""
        known = self.keys.get(id(envelope))
        if known is not None:
            return known
        seq, number = envelope.seq or 0, 0
        while self.found.setdefault((seq, number), envelope) != envelope:
            number += 1
        key = self.keys[id(envelope)] = f"{seq}.{number}" if number else str(seq)
        return key


_TABLE: Final[ContextVar[_Envelopes]] = ContextVar("envelopes that are written")
_READ: Final[ContextVar[Mapping[str, Envelope]]] = ContextVar("envelopes that were read")

_BY_KEY: Final = Shape(lambda envelope: _TABLE.get().key_of(envelope), lambda key: _READ.get()[key])
_STATE: Final = Shapes({Envelope: _BY_KEY}).fields_of(ExecutionState, _OUTSIDE)
_ENVELOPE: Final = Shapes({}).fields_of(Envelope, frozenset({"_seq", "body"}))


def snapshot(state: ExecutionState) -> Document:
    """The state as JSON, the same for the same log; it shares bodies and variables with the state.

    What the runner has not looked at yet is not part of it.
    """
    table = _Envelopes()
    token = _TABLE.set(table)
    try:
        written = written_fields(state, _STATE)
    finally:
        _TABLE.reset(token)
    envelopes = {
        table.keys[id(each)]: _written(each)
        for _, each in sorted(table.found.items(), key=lambda item: item[0])
    }
    return {"format": FORMAT, "state": written, "envelopes": envelopes}


def _written(envelope: Envelope) -> Document:
    found = written_fields(envelope, _ENVELOPE)
    if envelope.seq is None or _weight(envelope.body, BODY_WEIGHT_MAX) >= 0:
        return {**found, "body": envelope.body}
    return {**found, _PLACE: envelope.seq}


def _weight(body: Any, left: int) -> int:
    """How much of the weight is left below a body; negative as soon as there is none."""
    if isinstance(body, str):
        return left - len(body) - 2
    if isinstance(body, int):
        return left - 1 - body.bit_length() // 3
    is_object = isinstance(body, Mapping)
    if not is_object and not isinstance(body, Sequence):
        return left - 8
    left -= _NESTING_WEIGHT
    for each in body:
        if left < 0:
            break
        left = _weight(body[each], left - len(each) - 4) if is_object else _weight(each, left - 1)
    return left


def places(document: Document) -> tuple[Seq, ...]:
    """The events that hold what is missing here, ascending."""
    found = {each[_PLACE] for each in document["envelopes"].values() if _PLACE in each}
    return tuple(sorted(found))


def restored(
    document: Document, diagram: ExecutableDiagram, bodies: Mapping[int, Any]
) -> ExecutionState:
    """The state that was written so; `bodies` are those of the events at `places`.

    Raises DamagedCheckpoint.
    """
    token = None
    if document.get("format") != FORMAT:
        raise DamagedCheckpoint("A checkpoint was written by another version.")
    try:
        token = _READ.set(
            {key: _read(key, each, bodies) for key, each in document["envelopes"].items()}
        )
        held = document["state"]
        values = {name: part.decode(held[name]) for name, part, _ in _STATE if name in held}
        return ExecutionState(diagram=diagram, **values)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"A checkpoint holds no state that could be read: {error!r}."
        raise DamagedCheckpoint(message) from error
    finally:
        if token is not None:
            _READ.reset(token)


def _read(key: str, written: Mapping[str, Any], bodies: Mapping[int, Any]) -> Envelope:
    values = {name: part.decode(written[name]) for name, part, _ in _ENVELOPE if name in written}
    seq = int(key.partition(".")[0])
    body = bodies[written[_PLACE]] if _PLACE in written else written["body"]
    envelope = Envelope(**values, body=body)
    return envelope.told_by(Seq(seq)) if seq else envelope


def to_bytes(document: Any) -> bytes:
    """JSON as UTF-8. Raises ValueError, TypeError, RecursionError for what is none."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # Perhaps a number is only too large for it, or something nested too deep.
        return json.dumps(document, separators=(",", ":")).encode()


def hash_of(data: bytes) -> str:
    """The content hash of a document that was written so."""
    return sha256(data).hexdigest()


def document_of(parts: Sequence[bytes], content_hash: str) -> Document:
    """The document that a base and the differences since make up. Raises DamagedCheckpoint."""
    for read in (orjson.loads, json.loads):  # The second knows whole numbers of any size.
        try:
            base, *deltas = map(read, parts)
            found: Document = apply(base, deltas)
            if hash_of(to_bytes(found)) == content_hash:
                return found
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            continue
    raise DamagedCheckpoint("A checkpoint is not what was written.")
