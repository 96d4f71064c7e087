"""Which format a document is in."""

from collections.abc import Mapping

import pytest

from dipeo_server.domains.diagram.formats.detect import detect_format, read_diagram
from dipeo_server.domains.diagram.spec import NodeSpec


@pytest.mark.parametrize(
    "content, path, format_",
    [
        ("", "a.light.yaml", "light"),
        ("version: light", "a.READABLE.yaml", "readable"),
        ("", "a.native.json", "native"),
        ("", "a.json", "native"),
        ('{"nodes": []}', None, "native"),
        ('\ufeff\n {"nodes": []}', "a.txt", "native"),
        ("name: x\nversion: readable\n", "a.yaml", "readable"),
        ('format: "light"', None, "light"),
        ("nodes:\n- version: readable", "a.yaml", "light"),
        ("nodes: []", None, "light"),
        ("", None, "light"),
    ],
)
def test_the_format_comes_from_suffix_brace_or_version(
    content: str, path: str | None, format_: str
) -> None:
    assert detect_format(content, path) == format_


def test_light_is_read(specs: Mapping[str, NodeSpec]) -> None:
    text = "version: light\nnodes: [{label: A, type: start}]"
    for format_ in (None, "light", "LIGHT"):
        loaded = read_diagram(text, specs=specs, format=format_, path="a.yaml")
        assert loaded.problems == ()
        assert loaded.diagram is not None
        assert loaded.diagram.path == "a.yaml"


@pytest.mark.parametrize(
    "format_, text",
    [
        ("native", '{"nodes": {"A": {"type": "start", "data": {"label": "A"}}}}'),
        ("READABLE", "version: readable\nnodes: [{A: {type: start}}]"),
    ],
)
def test_so_are_the_others(format_: str, text: str, specs: Mapping[str, NodeSpec]) -> None:
    for chosen in (None, format_):
        loaded = read_diagram(text, specs=specs, format=chosen)
        assert loaded.problems == ()
        assert loaded.diagram is not None
        assert loaded.diagram.format == format_.lower()


def test_an_unknown_format_is_named(specs: Mapping[str, NodeSpec]) -> None:
    [problem] = read_diagram("", specs=specs, format="lihgt").problems
    assert (problem.code, problem.hint) == ("FORMAT_UNKNOWN", "Did you mean 'light'?")
    [problem] = read_diagram("", specs=specs, format="bpmn").problems
    assert problem.hint == "One of: light, native, readable."
