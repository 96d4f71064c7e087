"""From what a client sends to what an execution runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict

from dipeo_server.api.context import ApiServices
from dipeo_server.domains.diagram import judgement
from dipeo_server.domains.diagram.compile import Compiled
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.formats.inline import from_inputs
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.errors import InvalidInput

QUICK_CHARACTERS_MAX: Final = 16_384
"""Longer documents are read in a thread, so that they do not hold up everybody else."""


class Sent(TypedDict, total=False):
    """Where a document lists its nodes: as text, or as they are."""

    content: str
    format: str
    nodes: Sequence[Mapping[str, Any]]
    edges: Sequence[Mapping[str, Any]]
    persons: object


@dataclass(frozen=True, slots=True)
class Document:
    """A diagram as a client sends it: exactly one of `content` and `nodes`.

    `format` None = detect. `nodes` and `edges` are maps as `from_inputs` takes them; `field` is
    the path of the whole in the arguments, for messages.
    """

    name: str | None = None
    description: str | None = None
    content: str | None = None
    format: str | None = None
    path: str | None = None
    nodes: Sequence[Mapping[str, Any]] | None = None
    edges: Sequence[Mapping[str, Any]] = ()
    persons: object = None
    field: tuple[str, ...] = ()


def read(document: Document, services: ApiServices) -> Loaded:
    """The diagram and what was wrong with it. Raises InvalidInput."""
    if (document.content is None) == (document.nodes is None):
        message = "Exactly one of `content` and `nodes` must be given."
        raise InvalidInput(message, field=document.field)
    if document.content is not None:
        loaded = read_diagram(
            document.content, specs=services.specs, format=document.format, path=document.path
        )
        return _named(loaded, document)
    return from_inputs(
        document.nodes or (),
        document.edges,
        document.persons,
        specs=services.specs,
        name=document.name,
        description=document.description,
        path=document.path,
    )


def _named(loaded: Loaded, document: Document) -> Loaded:
    """A document that does not name itself has the name it is sent with."""
    diagram = loaded.diagram
    if diagram is None:
        return loaded
    named = replace(
        diagram,
        name=diagram.name or document.name,
        description=diagram.description or document.description,
    )
    return replace(loaded, diagram=named)


def compile_loaded(loaded: Loaded, services: ApiServices) -> Compiled:
    """What an execution of it runs. Raises DiagramInvalid with everything that is wrong."""
    return judgement.compile_loaded(loaded, services.specs, services.check_expression)


def problems_of(loaded: Loaded, services: ApiServices) -> tuple[DiagramProblem, ...]:
    """Everything to be said about a document; a diagram that was read in part is still checked."""
    return judgement.problems_of(loaded, services.specs, services.check_expression)
