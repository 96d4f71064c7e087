"""Judging a diagram: every rule over one view, problems in the order of the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.model import DomainDiagram
from dipeo_server.domains.diagram.problem import DiagramProblem
from dipeo_server.domains.diagram.rules import (
    edges,
    guards,
    handles,
    identity,
    node_types,
    overlap,
    persons,
    props,
    secrets,
    structure,
    writes,
)
from dipeo_server.domains.diagram.rules.view import CheckExpression, View, view_of
from dipeo_server.domains.diagram.spec import NodeSpec

__all__ = ["CheckExpression", "in_order", "report", "subject", "validate"]

Rule = Callable[[View], Iterator[DiagramProblem]]

PER_RULE_MAX: Final = 100

# A rule gives problems of one severity, so cutting its list short never hides an error.
RULES: Final[tuple[Rule, ...]] = (
    identity.duplicate_key,
    identity.unknown_node,
    node_types.unknown_node_type,
    node_types.node_type_unavailable,
    structure.no_start,
    structure.start_has_incoming,
    structure.endpoint_has_outgoing,
    structure.unreachable,
    structure.condition_branch_missing,
    props.invalid_props,
    props.unknown_prop,
    props.k_out_of_range,
    handles.unknown_handle,
    handles.missing_handle,
    persons.unknown_person,
    persons.missing_person,
    edges.edge_condition_missing,
    edges.edge_condition_unused,
    edges.invalid_edge_condition,
    edges.invalid_node_expression,
    edges.no_default_edge,
    overlap.condition_overlap,
    writes.conflict,
    writes.possible_conflict,
    writes.branch_conflict,
    guards.guard_beside_data,
    guards.duplicate_input,
    secrets.secret_literal,
)
# What an incomplete diagram seems to lack may only have failed to be read.
_CONSEQUENCES: Final = frozenset(
    {"NO_START", "UNREACHABLE", "CONDITION_BRANCH_MISSING", "NO_DEFAULT_EDGE", "K_OUT_OF_RANGE"}
    | {"CONFLICT"}
)


def validate(
    diagram: DomainDiagram,
    specs: Mapping[str, NodeSpec],
    *,
    check_expression: CheckExpression | None = None,
    back_edges: frozenset[str] | None = None,
) -> tuple[DiagramProblem, ...]:
    """Everything that is wrong with the diagram or deserves a warning, sorted by place.

    `check_expression` says what is wrong with the text of an expression, or None; without it
    expressions are not looked at. `back_edges` are the keys of the edges that begin a loop's next
    turn; without them the rules about edges that meet (GUARD_BESIDE_DATA, DUPLICATE_INPUT), which
    only warn, say nothing.
    """
    view = view_of(diagram, specs, check_expression, back_edges)
    too_many = tuple(identity.too_many_nodes(view))
    if too_many:
        return too_many
    return in_order([problem for rule in RULES for problem in islice(rule(view), PER_RULE_MAX)])


def report(
    loaded: Loaded,
    specs: Mapping[str, NodeSpec],
    *,
    check_expression: CheckExpression | None = None,
    back_edges: frozenset[str] | None = None,
) -> tuple[DiagramProblem, ...]:
    """What reading a document and `validate` found, each thing once, sorted by place.

    Where reading failed in part, what may be a mere consequence of that is left out.
    """
    if loaded.diagram is None:
        return in_order(loaded.problems)
    judged = validate(
        loaded.diagram, specs, check_expression=check_expression, back_edges=back_edges
    )
    told = {subject(problem) for problem in loaded.problems}
    left_out = _CONSEQUENCES if loaded.has_errors else frozenset[str]()
    rest = [
        problem
        for problem in judged
        if subject(problem) not in told and problem.code not in left_out
    ]
    return in_order([*loaded.problems, *rest])


def in_order(problems: Sequence[DiagramProblem]) -> tuple[DiagramProblem, ...]:
    """By line and column; those of the diagram as a whole come first."""
    return tuple(sorted(problems, key=_place))


def _place(problem: DiagramProblem) -> tuple[int, int]:
    where = problem.location
    return (0, 0) if where is None else (where.line, where.column)


def subject(problem: DiagramProblem) -> tuple[str, str | None, str | None]:
    """What a problem is about: two with the same subject are one."""
    return problem.code, problem.node, problem.edge
