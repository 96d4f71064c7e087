"""What Graphviz itself makes of a text, and what can be read in the picture that it draws."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pytest

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="no `dot` on the PATH: install the package graphviz"
)
SVG = "{http://www.w3.org/2000/svg}"
TOOLTIP = "{http://www.w3.org/1999/xlink}title"


def dot(text: str, to: str) -> str:
    """What `dot -T` gives, without a word of complaint."""
    done = subprocess.run(
        ["dot", f"-T{to}"], input=text.encode(), capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def objects(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes (without sub-graphs) and edges, each with its attributes, as Graphviz reads them."""
    graph = json.loads(dot(text, "dot_json"))
    nodes = [each for each in graph.get("objects", ()) if "nodes" not in each]
    return nodes, graph.get("edges", [])


@dataclass(frozen=True)
class Drawn:
    """A group of an SVG picture: the lines that are shown and the tooltip."""

    lines: tuple[str, ...]
    tooltip: str | None


def groups(svg: str, kind: str) -> dict[str, Drawn]:
    """The nodes or edges of an SVG picture by the name that DOT gave them."""
    found = {}
    root = ElementTree.fromstring(svg)  # noqa: S314 - written by our own `dot`
    for group in root.iter(f"{SVG}g"):
        if kind in group.get("class", "").split():
            title = group.findtext(f"{SVG}title") or ""
            lines = tuple(each.text or "" for each in group.iter(f"{SVG}text"))
            tips = [
                each.attrib[TOOLTIP] for each in group.iter(f"{SVG}a") if TOOLTIP in each.attrib
            ]
            found[title] = Drawn(lines, tips[0] if tips else None)
    return found
