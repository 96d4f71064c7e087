"""Nodes that speak to a model name a person that the diagram has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dipeo_server.domains.diagram.nearest import did_you_mean, listed
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules.view import ERROR, WARNING, Node, View, about_node

_SPEAKERS: Final = frozenset({"person_job", "condition"})


def unknown_person(view: View) -> Iterator[DiagramProblem]:
    """UNKNOWN_PERSON: the person is none of the diagram's."""
    known = {name for person in view.diagram.persons for name in (person.key, person.label)}
    for node in view.nodes.values():
        person = node.props.get("person")
        if isinstance(person, str) and person and person not in known and _speaks(view, node):
            message = f"{node.label}: there is no person {person!r}."
            hint = did_you_mean(person, sorted(known)) or f"Persons: {listed(sorted(known))}."
            yield about_node(ERROR, "UNKNOWN_PERSON", node, message, hint)


def missing_person(view: View) -> Iterator[DiagramProblem]:
    """MISSING_PERSON: a node that asks a model says whom."""
    for node in view.nodes.values():
        if not node.props.get("person") and _needs_person(node):
            message = f"{node.label}: no `person` is named, so there is no model to ask."
            hint = "Add `person:` with the name of one of the diagram's persons."
            yield about_node(WARNING, "MISSING_PERSON", node, message, hint)


def _speaks(view: View, node: Node) -> bool:
    spec = view.spec(node)
    return node.type in _SPEAKERS if spec is None else "person" in spec.props.model_fields


def _needs_person(node: Node) -> bool:
    asks_model = node.props.get("condition_type") == "llm_decision"
    return node.type == "person_job" or (node.type == "condition" and asks_model)
