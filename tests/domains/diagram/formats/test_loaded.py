"""Problems are collected within bounds."""

from dipeo_server.domains.diagram.formats.loaded import PROBLEMS_MAX, SUGGESTIONS_MAX, Findings
from dipeo_server.domains.diagram.problem import DiagramProblem, Severity


def test_many_warnings_do_not_hide_an_error() -> None:
    findings = Findings()
    for number in range(PROBLEMS_MAX + 5):
        findings.add(DiagramProblem(Severity.WARNING, "W", str(number)))
    findings.add(DiagramProblem(Severity.ERROR, "E", "here"))
    problems = findings.problems()
    assert [problem.code for problem in problems[-2:]] == ["E", "TOO_MANY_PROBLEMS"]
    assert problems[-1].message.startswith("5 further")
    assert problems[-1].severity is Severity.WARNING


def test_a_document_has_its_share_of_suggestions() -> None:
    findings = Findings()
    hints = [findings.suggest("ab", ["abc"]) for _ in range(SUGGESTIONS_MAX + 1)]
    assert hints[-2:] == ["Did you mean 'abc'?", None]
