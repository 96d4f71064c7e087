"""Judging a document that was read: what can run, or everything that keeps it from running."""

from __future__ import annotations

from collections.abc import Mapping

from dipeo_server.domains.diagram.compile import Compiled, compile_diagram
from dipeo_server.domains.diagram.formats.loaded import Loaded
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.diagram.validate import CheckExpression, in_order, report, subject


def compile_loaded(
    loaded: Loaded,
    specs: Mapping[str, NodeSpec],
    check_expression: CheckExpression | None = None,
) -> Compiled:
    """What an execution of it runs, with each warning of reading and compiling once.

    Raises DiagramInvalid with everything that is wrong.
    """
    if loaded.diagram is None or loaded.has_errors:
        raise DiagramInvalid(report(loaded, specs, check_expression=check_expression))
    try:
        compiled = compile_diagram(loaded.diagram, specs, check_expression)
    except DiagramInvalid as invalid:
        every = report(loaded, specs, check_expression=check_expression)
        raise DiagramInvalid(every) from invalid
    told = {subject(problem) for problem in loaded.problems}
    fresh = [problem for problem in compiled.warnings if subject(problem) not in told]
    return Compiled(compiled.executable, in_order([*loaded.problems, *fresh]))


def problems_of(
    loaded: Loaded,
    specs: Mapping[str, NodeSpec],
    check_expression: CheckExpression | None = None,
) -> tuple[DiagramProblem, ...]:
    """Everything to be said about a document; a diagram that was read in part is still checked."""
    try:
        return compile_loaded(loaded, specs, check_expression).warnings
    except DiagramInvalid as invalid:
        return invalid.problems
