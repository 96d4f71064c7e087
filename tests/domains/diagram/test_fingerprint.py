"""A node's fingerprint changes with what its result rests on, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.fingerprint import node_fingerprint
from tests.builders import diagram


def fingerprint(drawn: ExecutableDiagram, key: str = "j") -> str:
    return node_fingerprint(drawn, drawn.get_node(key))


def test_equal_nodes_have_equal_fingerprints() -> None:
    text = "s -> a -> j; s -> b -> j; j -> e"
    assert fingerprint(diagram(text)) == fingerprint(diagram(text))
    assert len(fingerprint(diagram(text))) == 32


def test_neither_position_nor_order_nor_what_comes_behind_counts() -> None:
    first = diagram("s -> a -> j; s -> b -> j; j -> e", props={"j": {"p": 1, "q": 2}})
    other = diagram("s -> b -> j; s -> a -> j; j -> e1; j -> e2", props={"j": {"q": 2, "p": 1}})
    assert fingerprint(first) == fingerprint(other)
    node = replace(first.get_node("j"), position=(4.0, 2.0), label="somewhere else")
    assert node_fingerprint(first, node) == fingerprint(first)


@pytest.mark.parametrize(
    "changed",
    [
        diagram("s -> a -> j; s -> b -> j", props={"j": {"code": "2"}}),
        diagram("s -> a -> j; s -> b -> j", props={"j": {"code": "1", "join": "any"}}),
        diagram("s -> a -> j; s -> c.t -> j", props={"j": {"code": "1"}}),
        diagram("s -> a -> j", props={"j": {"code": "1"}}),
        diagram(
            "s -> a -> j; s -> b -> j",
            props={"j": {"code": "1"}},
            edges={"b>j": {"kind": "when", "condition": "x > 1"}},
        ),
        diagram(
            "s -> a -> j; s -> b -> j", props={"j": {"code": "1"}}, edges={"b>j": {"label": "b"}}
        ),
    ],
    ids=["props", "join", "source", "fewer edges", "condition", "input name"],
)
def test_what_a_result_rests_on_counts(changed: ExecutableDiagram) -> None:
    plain = diagram("s -> a -> j; s -> b -> j", props={"j": {"code": "1"}})
    assert fingerprint(plain) != fingerprint(changed)
