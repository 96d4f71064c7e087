"""The `flow` of a readable document: which node leads to which, before types are known."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.formats.connection_ends import report_unknown_node
from dipeo_server.domains.diagram.formats.json_values import as_text
from dipeo_server.domains.diagram.formats.light_endpoints import Endpoint, Labels
from dipeo_server.domains.diagram.formats.readable_flow import clauses, has_clauses, older
from dipeo_server.domains.diagram.formats.source import Path, Source, shown

ARROW: Final = " -> "
# More than a document of any other format can hold.
LINKS_MAX: Final = 60_000

_SPLIT: Final = "Split the diagram into sub-diagrams."
_HINT: Final = 'Write it as `- A: to "B"`, or with more: `to "B" in "first" as "raw_text"`.'
_FORM: Final = 'It is written as: from "handle" to "Node" in "handle" as "type" naming "label".'


@dataclass(frozen=True, slots=True)
class Stop:
    """One end of a link as it was written: the node with that label, and its handle if any."""

    endpoint: Endpoint
    text: str
    at: Path


@dataclass(frozen=True, slots=True)
class Link:
    """One connection; `fields` is all that was written of its destination."""

    key: str
    source: Stop
    target: Stop
    fields: Mapping[str, Any]
    at: Path


def read_links(source: Source, labels: Collection[str]) -> tuple[Link, ...]:
    """The links of the flow, those with an unknown end left out; keys are arrow_0… by place."""
    section = source.document.data.get("flow")
    if section is None:
        return ()
    if not isinstance(section, list):
        source.report("INVALID_FIELD", "`flow` must be a list.", at=("flow",), hint=_HINT)
        return ()
    reader = _Reader(source, labels)
    links: list[Link] = []
    for index, item in enumerate(section):
        for link in reader.item(item, ("flow", index)):
            links.append(link)
            if len(links) > LINKS_MAX:
                message = f"The flow has more than {LINKS_MAX} connections."
                source.report("TOO_MANY_EDGES", message, at=link.at, hint=_SPLIT)
                return tuple(links)
    return tuple(links)


class _Reader:
    def __init__(self, source: Source, labels: Collection[str]) -> None:
        self.source = source
        self.labels = Labels(labels)
        self.names = frozenset(labels)
        self.count = 0

    def item(self, item: object, at: Path) -> Iterator[Link]:
        match item:
            case dict():
                for text, destinations in item.items():
                    start = self._stop(text, (*at, text))
                    yield from self._from(start, destinations, (*at, text))
            case str() if ARROW in item:
                yield from self._chain(item.split(ARROW), at)
            case _:
                self._refuse(f"Item {int(at[1]) + 1} of `flow` leads from no node to another.", at)

    def _chain(self, texts: list[str], at: Path) -> Iterator[Link]:
        start = self._stop(texts[0].strip(), at)
        for text in texts[1:]:
            for fields in self._fields(text, at):
                link = self._link(start, fields, at)
                if link is not None:
                    yield link
                start = None if link is None else _onwards(link.target)

    def _from(self, start: Stop | None, destinations: object, at: Path) -> Iterator[Link]:
        is_list = isinstance(destinations, list)
        every = destinations if isinstance(destinations, list) else [destinations]
        for number, destination in enumerate(every):
            place = (*at, number) if is_list else at
            for fields in self._fields(destination, place):
                link = self._link(start, fields, place)
                if link is not None:
                    yield link

    def _fields(self, destination: object, at: Path) -> list[dict[str, Any]]:
        if isinstance(destination, dict):
            return [destination]
        text = as_text(destination)
        if text is None:
            self._refuse("A destination must be a text or a map.", at)
            return []
        parsed = clauses(text)
        if parsed is not None:
            return list(parsed)
        fields = older(text, self.names)
        if has_clauses(text) and self.labels.find(fields["to"]) is None:
            message = f"The destination {shown(text)} cannot be read."
            self.source.report("INVALID_FIELD", message, at=at, hint=_FORM)
            return []
        return [dict(fields)]

    def _link(self, start: Stop | None, fields: Mapping[str, Any], at: Path) -> Link | None:
        number, self.count = self.count, self.count + 1
        key = self.source.text(fields, "key", at) or f"arrow_{number}"
        place = (*at, "to")
        text = as_text(fields.get("to"))
        if not text:
            message = "The destination has no `to`, or one that is no text."
            self.source.report("INVALID_FIELD", message, at=place, hint=_FORM, edge=key)
            return None
        target = self._stop(text, place, key)
        if start is None or target is None:
            return None
        return Link(
            key=key,
            source=self._by_handle(start, fields, "from", at),
            target=self._by_handle(target, fields, "in", at),
            fields=fields,
            at=at,
        )

    def _stop(self, text: str, at: Path, edge: str | None = None) -> Stop | None:
        found = self.labels.find(text)
        if found is not None:
            return Stop(found, text, at)
        name = text.split("[", maxsplit=1)[0].strip()
        report_unknown_node(
            self.source, name, word="label", known=self.labels.every, at=at, edge=edge
        )
        return None

    def _by_handle(self, stop: Stop, fields: Mapping[str, Any], name: str, at: Path) -> Stop:
        """The stop with the handle that has a field of its own."""
        handle = self.source.text(fields, name, at)
        if handle is None:
            return stop
        return Stop(Endpoint(stop.endpoint.label, handle, is_strict=True), handle, (*at, name))

    def _refuse(self, message: str, at: Path) -> None:
        self.source.report("INVALID_FIELD", message, at=at, hint=_HINT)


def _onwards(stop: Stop) -> Stop:
    return Stop(Endpoint(stop.endpoint.label), stop.text, stop.at)
