"""Diagrams keep everything they are in every format, there and back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import permutations
from pathlib import Path

import pytest

from dipeo_server.domains.diagram.compile import content_hash
from dipeo_server.domains.diagram.formats.detect import FORMATS, read_diagram
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.errors import InvalidInput
from dipeo_server.node_types import node_types
from tests.domains.diagram.formats.awkward import awkward_diagram

BATCH = 100
QUICK = range(0, 300, BATCH)
LARGE = range(300, 2_300, BATCH)


@pytest.fixture(scope="module")
def specs() -> Mapping[str, NodeSpec]:
    return node_types().specs


def model_of(diagram: DomainDiagram) -> DomainDiagram:
    """All that a diagram is, without where it was written and how."""
    return replace(
        diagram,
        format="",
        path=None,
        nodes=tuple(replace(node, location=None) for node in diagram.nodes),
        edges=tuple(replace(edge, location=None) for edge in diagram.edges),
        persons=tuple(replace(person, location=None) for person in diagram.persons),
    )


def plain(value: object) -> str:
    """As text, for 1 == 1.0 == True; maps may differ in the order of their keys."""
    return json.dumps(
        value, sort_keys=True, default=lambda it: [getattr(it, each.name) for each in fields(it)]
    )


def differences(one: object, other: object, at: str = "diagram") -> list[str]:
    """Where two models differ, for people."""
    if plain(one) == plain(other):
        return []
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for n, pair in pairs for line in differences(*pair, f"{at}[{n}]")]
    if is_dataclass(one) and type(one) is type(other):
        return [
            line
            for name in (each.name for each in fields(one))
            for line in differences(getattr(one, name), getattr(other, name), f"{at}.{name}")
        ]
    return [f"{at}: {plain(one)} became {plain(other)}"]


class Converter:
    """Reads and writes; equal texts are read once."""

    def __init__(self, specs: Mapping[str, NodeSpec]) -> None:
        self.specs = specs
        self.conversions = 0

    def check(self, diagram: DomainDiagram, formats: Collection[str]) -> None:
        """Convert from each format to each other and back: all must be the diagram."""
        texts = {name: write_diagram(diagram, name) for name in formats}
        every = {name: self.same(diagram, text, name) for name, text in texts.items()}
        for first, second in permutations(formats, 2):
            there = write_diagram(every[first], second)
            if there == texts[second]:
                in_second = every[second]
            else:
                in_second = self.same(diagram, there, second)
            back = write_diagram(in_second, first)
            if back != texts[first]:
                self.same(diagram, back, first)
            self.conversions += 1

    def same(self, diagram: DomainDiagram, text: str, format_: str) -> DomainDiagram:
        loaded = read_diagram(text, specs=self.specs, format=format_)
        assert loaded.diagram is not None, loaded.problems
        assert not loaded.problems, loaded.problems
        found = differences(model_of(diagram), model_of(loaded.diagram))
        assert not found, (format_, found)
        assert content_hash(loaded.diagram) == content_hash(diagram)
        return loaded.diagram


def convert_seeds(seeds: range, specs: Mapping[str, NodeSpec]) -> None:
    """Convert the diagrams of these seeds every way."""
    converter = Converter(specs)
    for seed in seeds:
        try:
            converter.check(awkward_diagram(seed, specs), FORMATS)
        except (AssertionError, InvalidInput) as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert converter.conversions == 6 * len(seeds)


@pytest.mark.parametrize("first", QUICK)
def test_awkward_diagrams_keep_everything_in_every_format(
    first: int, specs: Mapping[str, NodeSpec]
) -> None:
    convert_seeds(range(first, first + BATCH), specs)


@pytest.mark.prove
@pytest.mark.parametrize("first", LARGE)
def test_two_thousand_awkward_diagrams_keep_everything_in_every_format(
    first: int, specs: Mapping[str, NodeSpec]
) -> None:
    convert_seeds(range(first, first + BATCH), specs)


def test_real_diagrams_keep_everything_in_every_format(
    corpus: Path, specs: Mapping[str, NodeSpec]
) -> None:
    converter = Converter(specs)
    files = [each for each in sorted((corpus / "dipeo").rglob("*.*")) if each.is_file()]
    for file in files:
        loaded = read_diagram(file.read_text(), specs=specs, path=file.name)
        assert loaded.diagram is not None, loaded.problems
        converter.check(loaded.diagram, FORMATS)
    assert converter.conversions == 6 * len(files) > 0
