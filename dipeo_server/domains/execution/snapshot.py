"""An execution's state as plain JSON, and back: all of it but the diagram, which the log holds.

An envelope is in it once, however many tokens carry it. Bodies that are large are not in it: their
envelopes say which event of the log holds them. A state that is written again and again costs what
has changed since the last time (`Snapshots`), and so does its hash, which is the sum of those of
its parts.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final

import orjson

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.execution.difference import apply, delta
from dipeo_server.domains.execution.envelope import Envelope
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.shapes import Encode, Shape, Shapes, written_fields
from dipeo_server.domains.execution.state import ExecutionState
from dipeo_server.domains.execution.state_parts import (
    Changes,
    Grouped,
    Uses,
    WrittenObject,
    WrittenValue,
    groups_of,
    makers_of,
)
from dipeo_server.errors import DamagedCheckpoint

FORMAT: Final = 2
"""Of what this version writes; it ignores checkpoints that are of another."""

BODY_WEIGHT_MAX: Final = 1_024
"""Of bodies that are written: about their length as JSON."""

Document = dict[str, Any]

_OUTSIDE: Final = frozenset({"diagram", "touched"})
_PLACE: Final = "seq"
_AT_ITS_LIMIT: Final = "maxiter"
_NESTING_WEIGHT: Final = 8
_HASHES: Final = 1 << 256


class _Envelopes:
    """The envelopes that a document mentions: each has a key, by the event that it came with."""

    def __init__(self) -> None:
        self._found: dict[str, Envelope] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._mentioned: list[str] = []
        self._written: dict[str, Document] = {}
        self._part = WrittenObject(_as_it_is)
        self._touched: dict[str, None] = {}

    def key_of(self, envelope: Envelope) -> str:
        """Its key; equal envelopes of one event have one."""
        first = str(envelope.seq or 0)
        if envelope.meta.get(_AT_ITS_LIMIT):
            first += "." + _AT_ITS_LIMIT  # Its node gave it again, and it is another one.
        key, number = first, 0
        while (known := self._found.setdefault(key, envelope)) is not envelope:
            if known == envelope:
                break
            number += 1
            key = f"{first}.{number}"
        self._mentioned.append(key)
        return key

    def all(self) -> Document:
        """Every envelope that was mentioned, as it is written."""
        return {key: _written(envelope) for key, envelope in self._found.items()}

    def write(self, encode: Encode, value: Any) -> tuple[Any, Uses]:
        """The value as JSON, and the keys of the envelopes that it mentions."""
        document = encode(value)
        if not self._mentioned:
            return document, ()
        uses, self._mentioned = tuple(self._mentioned), []
        for key in uses:
            self._counts[key] += 1
            self._touched[key] = None
        return document, uses

    def release(self, uses: Uses) -> None:
        """An entry that mentioned these is not there any more."""
        for key in uses:
            self._counts[key] -= 1
            self._touched[key] = None

    def changes(self) -> tuple[Grouped, Changes]:
        """What has changed of the envelopes that are mentioned."""
        for key in self._touched:
            if self._counts[key] <= 0:
                del self._counts[key], self._found[key]
                self._written.pop(key, None)
            elif key not in self._written:
                self._written[key] = _written(self._found[key])
        self._touched.clear()
        return self._part, self._part.changes(self._written, self)


def _as_it_is(value: Any) -> Any:
    return value


_TABLE: Final[ContextVar[_Envelopes]] = ContextVar("envelopes that are written")
_READ: Final[ContextVar[Mapping[str, Envelope]]] = ContextVar("envelopes that were read")

_BY_KEY: Final = Shape(lambda envelope: _TABLE.get().key_of(envelope), lambda key: _READ.get()[key])
_SHAPES: Final = Shapes({Envelope: _BY_KEY})
_STATE: Final = _SHAPES.fields_of(ExecutionState, _OUTSIDE)
_MAKERS: Final = makers_of(ExecutionState, _SHAPES, _OUTSIDE)
_KINDS: Final = {name: type(make()) for name, make in _MAKERS.items()}
_ENVELOPE: Final = Shapes({}).fields_of(Envelope, frozenset({"_seq", "body"}))
_ENVELOPES: Final = "envelopes"
_VALUES: Final = "="


class Snapshots:
    """Writes one state as it changes; to write it once more costs what has changed since."""

    def __init__(self) -> None:
        self._envelopes = _Envelopes()
        self._parts = {name: make() for name, make in _MAKERS.items()}
        self._values = {n: part for n, part in self._parts.items() if _KINDS[n] is WrittenValue}
        self._digests: dict[tuple[str, int], int] = {}
        self._sizes: dict[tuple[str, int], int] = {}
        self._total = _START
        self.size = 0
        self.document: Document = {"format": FORMAT, "state": {}, _ENVELOPES: {}}

    @property
    def content_hash(self) -> str:
        """The hash of the whole document."""
        return f"{self._total:064x}"

    def take(self, state: ExecutionState) -> Changes:
        """Bring the document up to date; gives the difference to what it was.

        The document shares bodies and variables with the state. Raises TypeError, ValueError and
        RecursionError for what is no JSON, and is of no use any more then.
        """
        found: Changes = {}
        token = _TABLE.set(self._envelopes)
        try:
            fields = self._fields(state)
            part, envelopes = self._envelopes.changes()
        finally:
            _TABLE.reset(token)
        if fields:
            found["state"] = fields
        if envelopes:
            found[_ENVELOPES] = envelopes
            self.document[_ENVELOPES] = part.document
            self._add_up(_ENVELOPES, part)
        return {"+": found} if found else {}

    def _fields(self, state: ExecutionState) -> Changes:
        gone, changed, held = [], {}, self.document["state"]
        for name, part in self._parts.items():
            difference = part.changes(getattr(state, name), self._envelopes)
            if part.dirty and not isinstance(part, WrittenValue):
                self._add_up(name, part)
            if not difference:
                continue
            if not part.is_there:
                gone.append(name)
                del held[name]
            else:
                changed[name] = difference if name in held else {"=": part.document}
                held[name] = part.document
        self._add_up_values(held)
        found: Changes = {"-": gone} if gone else {}
        return {**found, "+": changed} if changed else found

    def _add_up(self, name: str, part: Grouped) -> None:
        """Take the hashes of what has changed into that of the whole."""
        for number in part.dirty:
            self._replace(name, number, part.group(number))
        part.dirty.clear()

    def _add_up_values(self, held: Document) -> None:
        """Single values have one hash together."""
        dirty = [part.dirty for part in self._values.values() if part.dirty]
        if dirty:
            self._replace(_VALUES, 0, sorted((n, held[n]) for n in self._values if n in held))
        for each in dirty:
            each.clear()

    def _replace(self, name: str, number: int, group: Any) -> None:
        place = (name, number)
        digest, size = _hashed(name, number, group) if group else (0, 0)
        self._total = (self._total - self._digests.pop(place, 0) + digest) % _HASHES
        self.size += size - self._sizes.pop(place, 0)
        if group:
            self._digests[place], self._sizes[place] = digest, size


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
    return {"format": FORMAT, "state": written, _ENVELOPES: table.all()}


def to_bytes(document: Any) -> bytes:
    """JSON as UTF-8. Raises ValueError, TypeError, RecursionError for what is none."""
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # Perhaps a number is only too large for it, or something nested too deep.
        return json.dumps(document, separators=(",", ":")).encode()


def _hashed(name: str, number: int, group: Any) -> tuple[int, int]:
    """The hash and the size of what is hashed together."""
    data = to_bytes(group)
    digest = sha256(f"{name}/{number}:".encode() + data).digest()
    return int.from_bytes(digest), len(data)


_START: Final = _hashed("format", FORMAT, ())[0]


def hash_of(document: Document) -> str:
    """The content hash of a document of this format. Raises LookupError for other documents."""
    parts = [(name, _KINDS[name], held) for name, held in document["state"].items()]
    values = sorted((name, held) for name, kind, held in parts if kind is WrittenValue)
    parts.append((_ENVELOPES, WrittenObject, document[_ENVELOPES]))
    total = _hashed("format", document["format"], ())[0]
    if values:
        total += _hashed(_VALUES, 0, values)[0]
    for name, kind, held in parts:
        if kind is not WrittenValue:
            for number, group in groups_of(kind, held).items():
                total += _hashed(name, number, group)[0]
    return f"{total % _HASHES:064x}"


def difference(old: Document, new: Document) -> Changes:
    """What makes `new` of `old`, both documents of this format."""
    found = {part: _of_fields(old[part], new[part]) for part in ("state", _ENVELOPES)}
    return (
        {"+": {part: each for part, each in found.items() if each}} if any(found.values()) else {}
    )


def _of_fields(old: Document, new: Document) -> Changes:
    gone = [name for name in old if name not in new]
    changed: dict[str, Any] = {}
    for name, value in new.items():
        each = delta(old[name], value) if name in old else {"=": value}
        if each:
            changed[name] = each
    found: Changes = {"-": gone} if gone else {}
    return {**found, "+": changed} if changed else found


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


def document_of(parts: Sequence[bytes], content_hash: str) -> Document:
    """The document that a base and the differences since make up. Raises DamagedCheckpoint."""
    for read in (orjson.loads, json.loads):  # The second knows whole numbers of any size.
        try:
            base, *deltas = map(read, parts)
            found: Document = apply(base, deltas)
            if hash_of(found) == content_hash:
                return found
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            continue
    raise DamagedCheckpoint("A checkpoint is not what was written.")
