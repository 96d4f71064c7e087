"""Diagrams that the tests of the testing kit run."""

from tests.api.serving import ASKING, light

__all__ = ["ASKING", "FAILING", "GREETING"]

GREETING = light(
    "begin -> greet -> end",
    begin="start",
    greet="template_job, props: {template_content: 'hello {{ name }}'}",
    end="endpoint",
)
FAILING = light(
    "begin -> work -> end",
    begin="start",
    work="code_job, props: {language: python, code: 'raise ValueError(\"no prices\")'}",
    end="endpoint",
)
