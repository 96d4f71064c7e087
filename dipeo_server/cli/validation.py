"""`dipeo-server validate`: what is wrong with diagrams, without running them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dipeo_server.cli import documents
from dipeo_server.cli.outcome import ExitCode, Unusable, tell
from dipeo_server.cli.problems import Problem, is_error, line_of
from dipeo_server.cli.report import write_json
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.diagram.judgement import problems_of
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeSpec
from dipeo_server.domains.execution.expression import check_expression
from dipeo_server.node_types import node_types


def validate_files(files: Sequence[Path], base_dir: Path, *, as_json: bool) -> ExitCode:
    """Tell every problem of every file; USAGE if one has an error."""
    specs = node_types().specs
    found = {file: _problems(file, base_dir, specs) for file in files}
    wrong = [file for file, problems in found.items() if any(is_error(each) for each in problems)]
    if as_json:
        write_json({"isValid": not wrong, "files": [_as_json(*entry) for entry in found.items()]})
    else:
        for file, problems in found.items():
            sys.stdout.writelines(f"{line_of(problem, file)}\n" for problem in problems)
    tell(f"{len(found)} checked, {len(wrong)} with errors.")
    return ExitCode.USAGE if wrong else ExitCode.COMPLETED


def _problems(file: Path, base_dir: Path, specs: Mapping[str, NodeSpec]) -> list[Problem]:
    try:
        document = documents.read(file, base_dir)
    except Unusable as error:
        told = DiagramProblem(Severity.ERROR, error.code, error.message, hint=error.hint)
        return [as_in_the_api(told)]
    loaded = read_diagram(document.content, specs=specs, format=document.format, path=document.path)
    judged = problems_of(loaded, specs, check_expression)
    return [as_in_the_api(problem) for problem in judged]


def as_in_the_api(problem: DiagramProblem) -> Problem:
    """The problem as clients of the API know it."""
    place = problem.location
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "nodeKey": problem.node,
        "edgeKey": problem.edge,
        "line": place.line if place else None,
        "column": place.column if place else None,
    }


def _as_json(file: Path, problems: Sequence[Problem]) -> dict[str, Any]:
    is_valid = not any(is_error(problem) for problem in problems)
    return {"file": str(file), "isValid": is_valid, "problems": list(problems)}
