"""Dependency graphs: what a node rests on, and by what."""

from __future__ import annotations

from dipeo_server.domains.diagram.compile import compile_diagram
from dipeo_server.domains.diagram.executable import ExecutableDiagram
from dipeo_server.domains.diagram.formats.detect import read_diagram
from dipeo_server.domains.execution.dependencies import dependencies
from dipeo_server.node_types import built_in_node_types
from tests.builders import SPECS, diagram

BUILT_IN = built_in_node_types().specs

READING = """\
version: light
nodes:
- {label: start, type: start}
- {label: gate, type: barrier, prompt: 'Go?', name: ok}
- {label: tell, type: template_job, template_content: 'was it {{ok.approved}}? {{#if who}}x{{/if}}'}
- {label: end, type: endpoint}
connections:
- {from: start, to: gate}
- {from: "gate[approved]", to: tell, label: said}
- {from: tell, to: end}
"""
GROUP = """\
version: light
nodes:
- {label: start, type: start}
- label: group
  type: parallel
  branches:
    left:
      diagram_data:
        version: light
        nodes: [{label: begin, type: start}, {label: work, type: transform}]
        connections: [{from: begin, to: work}]
    right:
      diagram_data:
        version: light
        nodes: [{label: begin, type: start}]
        connections: []
- {label: end, type: endpoint}
connections:
- {from: start, to: group}
- {from: group, to: end}
"""


def compiled(text: str) -> ExecutableDiagram:
    loaded = read_diagram(text, specs=BUILT_IN)
    assert loaded.diagram is not None, loaded.problems
    return compile_diagram(loaded.diagram, BUILT_IN).executable


def test_000_24_each_pair_of_nodes_is_there_once_with_all_it_rests_on() -> None:
    found = dependencies(
        diagram("s -> c; c.t -> e; c.f -> e", edges={"s>c": {"label": "first"}}), SPECS
    )
    assert [(each.node, each.depends_on, each.via) for each in found] == [
        ("c", "s", ("first",)),
        ("e", "c", ("condtrue → default", "condfalse → default")),
    ]


def test_loops_rest_on_themselves() -> None:
    found = dependencies(diagram("s -> a -> c; c.f -> a; c.t -> e"), SPECS)
    assert {(each.node, each.depends_on) for each in found} == {
        ("a", "s"),
        ("c", "a"),
        ("a", "c"),
        ("e", "c"),
    }


def test_000_27_who_reads_a_variable_rests_on_who_is_known_to_write_it() -> None:
    found = {
        (each.node, each.depends_on): each.via for each in dependencies(compiled(READING), BUILT_IN)
    }
    assert found["tell", "gate"] == ("approved → said", "variable ok")


def test_000_25_flattened_it_goes_into_the_branches_of_a_group() -> None:
    group = compiled(GROUP)
    assert {each.node for each in dependencies(group, BUILT_IN)} == {"group", "end"}
    found = dependencies(group, BUILT_IN, flattened=True)
    assert ("group/left/work", "group/left/begin", ("default",)) in [
        (each.node, each.depends_on, each.via) for each in found
    ]


def test_an_order_that_is_always_the_same() -> None:
    once, twice = (dependencies(compiled(READING), BUILT_IN) for _ in range(2))
    assert once == twice
