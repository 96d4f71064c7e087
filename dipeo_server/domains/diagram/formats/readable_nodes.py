"""The `nodes` of a readable document: a list of maps from a name to the fields of that node."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dipeo_server.domains.diagram.formats.handles import DIPEO_TYPES, known_type
from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX
from dipeo_server.domains.diagram.formats.light_nodes import NODE_FIELDS, node_of
from dipeo_server.domains.diagram.formats.node_names import with_written_ids
from dipeo_server.domains.diagram.formats.readable_names import Name, parse_name, split_bracket
from dipeo_server.domains.diagram.formats.readable_persons import meant_person
from dipeo_server.domains.diagram.formats.readable_types import TELLING_FIELDS, told_type
from dipeo_server.domains.diagram.formats.source import Path, Source, shown
from dipeo_server.domains.diagram.model import DomainNode
from dipeo_server.domains.diagram.problem import Severity

Node = DomainNode[Mapping[str, Any]]

_HINT: Final = "Write `- Name @(100,200):` with the node's fields below it, indented further."
_FALLBACK: Final = "person_job"


@dataclass(frozen=True, slots=True)
class Draft:
    """A node whose type may not be known yet; `fields` are as they were written."""

    name: Name
    fields: Mapping[str, Any]
    at: Path


def read_drafts(source: Source) -> dict[str, Draft]:
    """What was written of the nodes, by label; those without a usable label are left out."""
    drafts: dict[str, Draft] = {}
    for index, item in source.maps("nodes", _HINT):
        draft = _draft(source, item, ("nodes", index))
        if draft is None:
            continue
        first = drafts.setdefault(draft.name.label, draft)
        if first is not draft:
            _report_duplicate(source, first, draft)
    return drafts


def nodes_of(
    source: Source,
    drafts: Iterable[Draft],
    *,
    persons: Collection[str],
    entered: Collection[str],
    left: Collection[str],
) -> tuple[Node, ...]:
    """The nodes; keys are their labels. `entered` and `left` tell where flow goes to and from.

    `persons` are the names of all persons.
    Ids are those that are written, else node_0… by place in the list.
    """
    return with_written_ids(
        (
            _node(source, draft, _type_of(source, draft, entered, left), persons),
            draft.fields.get("id"),
        )
        for draft in drafts
    )


def is_same_type(one: str, other: str) -> bool:
    """Do the two texts name one type, whatever types there are?"""
    return one.strip().lower() == other.strip().lower()


def _draft(source: Source, item: Mapping[str, Any], place: Path) -> Draft | None:
    if len(item) != 1:
        message = f"Item {int(place[1]) + 1} of `nodes` must be a map from one name to its fields."
        source.report("INVALID_FIELD", message, at=place, hint=_HINT)
        return None
    [(text, raw)] = item.items()
    at = (*place, text)
    if raw is not None and not isinstance(raw, dict):
        message = f"The fields of {shown(text)} must be a map."
        source.report("INVALID_FIELD", message, at=at, hint=_HINT)
        return None
    fields: Mapping[str, Any] = raw or {}
    name = _name(source, text, fields, at)
    if not name.label:
        source.report("MISSING_LABEL", "A node has no name.", at=at, hint=_HINT)
        return None
    if len(name.label) > LABEL_CHARACTERS_MAX:
        message = f"A label has more than {LABEL_CHARACTERS_MAX} characters."
        source.report("LABEL_TOO_LONG", message, at=at)
        return None
    return Draft(name, fields, at)


def _name(source: Source, text: str, fields: Mapping[str, Any], at: Path) -> Name:
    """The name; its label and type are those of the fields where these tell any."""
    said = source.text(fields, "type", at)
    if said is None:
        name = parse_name(text, lambda word: _is_type(source, word))
        _warn_of_brackets(source, name, at)
    else:
        name = parse_name(text, lambda word: is_same_type(word, said))
    label = source.text(fields, "label", at)
    return Name(label or name.label, said or name.type, name.position)


def _is_type(source: Source, word: str) -> bool:
    known = known_type(word, source.specs)
    return known in source.specs or known in DIPEO_TYPES


def _warn_of_brackets(source: Source, name: Name, at: Path) -> None:
    """Says so where brackets that look like a type are none."""
    word = split_bracket(name.label)[1]
    if word is None or not word.isidentifier():
        return
    hint = source.findings.suggest(word, (*source.specs, *sorted(DIPEO_TYPES)))
    if hint is not None:
        source.report(
            "NAME_BRACKETS",
            f"[{word}] is no type of node, so it is read as part of the label.",
            at=at,
            hint=hint,
            node=name.label,
            severity=Severity.WARNING,
        )


def _report_duplicate(source: Source, first: Draft, second: Draft) -> None:
    before = source.document.location(*first.at).line
    here = source.document.location(*second.at).line
    label = first.name.label
    source.report(
        "DUPLICATE_LABEL",
        f"Two nodes have the label {label!r}: in line {before} and in line {here}.",
        at=second.at,
        node=label,
        hint="Rename one of them, and the flow that means it.",
    )


def _type_of(source: Source, draft: Draft, entered: Collection[str], left: Collection[str]) -> str:
    label = draft.name.label
    if draft.name.type is not None:
        return draft.name.type
    fields = _prop_names(draft.fields)
    told = told_type(fields, is_entered=label in entered, is_left=label in left)
    if told is not None:
        return told
    known = sorted({name for _, telling in TELLING_FIELDS for name in telling})
    hints = (source.findings.suggest(name, known) for name in fields)
    source.report(
        "TYPE_NOT_TOLD",
        f"Nothing tells the type of {shown(label)}; {_FALLBACK} is taken.",
        at=draft.at,
        hint=next(filter(None, hints), f"Add a field, such as `type: {_FALLBACK}`."),
        node=label,
        severity=Severity.WARNING,
    )
    return _FALLBACK


def _prop_names(fields: Mapping[str, Any]) -> list[str]:
    props = fields.get("props")
    direct = [name for name in fields if name not in NODE_FIELDS]
    return [*direct, *(props if isinstance(props, dict) else ())]


def _node(source: Source, draft: Draft, type_: str, persons: Collection[str]) -> Node:
    raw = dict(draft.fields) | {"type": type_}
    if draft.name.position is not None:
        raw["position"] = list(draft.name.position)
    if "person" in raw:
        raw["person"] = meant_person(raw["person"], persons)
    return node_of(source, raw, draft.name.label, draft.at)
