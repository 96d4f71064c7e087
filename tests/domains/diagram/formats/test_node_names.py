"""Keys, labels and ids of nodes lie in the metadata of documents and come back from there."""

from collections.abc import Mapping
from typing import Any

import pytest

from dipeo_server.domains.diagram.formats.json_values import LABEL_CHARACTERS_MAX
from dipeo_server.domains.diagram.formats.node_names import (
    metadata_with_names,
    told_names,
    unique_labels,
    with_written_ids,
)
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode

Node = DomainNode[Mapping[str, Any]]


def node(key: str, label: str, id_: str = "n", **extra: Any) -> Node:
    return DomainNode(key=key, id=id_, type="db", label=label, props={}, extra=extra)


def test_names_are_taken_out_of_the_metadata_where_they_tell_of_nodes() -> None:
    metadata = {"keys": {"A": "a", "gone": "x"}, "labels": {"A~1": "A"}, "author": "Ann"}
    names = told_names(metadata, {"A", "A~1"})
    assert (names.keys, names.labels) == ({"A": "a"}, {"A~1": "A"})
    assert names.metadata == {"keys": {"gone": "x"}, "author": "Ann"}


@pytest.mark.parametrize(
    "value", [None, [], {}, "A", {"A": 1}, {"A": ""}, {"A": "x" * (LABEL_CHARACTERS_MAX + 1)}]
)
def test_what_is_no_map_of_names_is_left_where_it_is(value: object) -> None:
    names = told_names({"keys": value, "labels": value}, {"A"})
    assert (names.keys, names.labels) == ({}, {})
    assert names.metadata == {"keys": value, "labels": value}


@pytest.mark.parametrize(
    "metadata",
    [
        {"author": "Ann"},
        {"keys": [1]},
        {"keys": {"one": "mistaken for a key"}},
        {"labels": {"one": "mistaken for a label"}},
        {"keys": {"nobody": "x"}, "$extra": {"keys": 1}},
        {"$extra": {"a": 1}},
        {"$extra": None},
    ],
)
@pytest.mark.parametrize("keys", [("one", "one~1"), ("k1", "k2")])
def test_metadata_of_any_form_come_back(metadata: dict[str, Any], keys: tuple[str, str]) -> None:
    diagram = DomainDiagram(tuple(node(key, "one") for key in keys), (), metadata=metadata)
    labels = unique_labels(diagram)
    written = metadata_with_names(diagram, labels, are_labels=True)
    names = told_names(written, set(labels.values()))
    assert names.metadata == metadata
    assert names.labels == {"one~1": "one"}
    assert [names.keys.get(name, name) for name in labels.values()] == list(keys)


def test_metadata_that_need_not_be_hidden_are_written_as_they_are() -> None:
    diagram = DomainDiagram((node("one", "one"),), (), metadata={"keys": {"nobody": "x"}})
    assert metadata_with_names(diagram, {"one": "one"}, are_labels=True) == diagram.metadata


def test_an_id_that_is_not_free_or_no_text_stays_beside_the_one_that_is_given() -> None:
    nodes = with_written_ids(
        [
            (node("a", "a", "node_0"), "node_1"),
            (node("b", "b", "node_1"), "node_1"),
            (node("c", "c", "node_2"), {}),
            (node("d", "d", "node_3", id="unknown field"), None),
            (node("e", "e", "node_4"), 7),
        ]
    )
    assert [each.id for each in nodes] == ["node_1", "node_1~1", "node_2", "node_3", "7"]
    assert [each.extra for each in nodes] == [
        {},
        {"id": "node_1"},
        {"id": {}},
        {"id": "unknown field"},
        {},
    ]
