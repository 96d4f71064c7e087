"""Seeded diagrams as awkward as any document may make them: names, values, settings, loops."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from dipeo_server.domains.diagram.executable import EdgeKind
from dipeo_server.domains.diagram.formats.content_types import CONTENT_TYPES
from dipeo_server.domains.diagram.formats.edge_fields import branch_data
from dipeo_server.domains.diagram.formats.handles import inputs_of, known_type, outputs_of
from dipeo_server.domains.diagram.formats.node_fields import normal_props
from dipeo_server.domains.diagram.model import (
    DomainDiagram,
    DomainEdge,
    DomainNode,
    DomainPerson,
)
from dipeo_server.domains.diagram.spec import NodeSpec

Node = DomainNode[Mapping[str, Any]]

NAMES: Final = (
    *("A", "A_first", "A first", "A[first]", "A_condtrue", "A_default_output", "A [db]", "_", "__"),
    *("A @(1,2)", "A (raw_text)", "A -> B", 'to "A"', "B", "B_A", "A_B", "a.b", "node_0", "node_1"),
    *("Same", "Same~1", "Same~2", "Same~1~1", "person_Judge", "Judge", "arrow_0", "<<", "=", "~"),
    *("1", "1.0", "0x1F", "1_000", "1e3", "null", "true", "no", "2025-01-11", "12:30:45", "-", "?"),
    *("it's", '"quoted"', "back\\slash", "a: b", "- x", "# no", "{{x}}", "[x]", "{x}", "&a", "*a"),
    *(
        "ümläut",
        "u\u0308",
        "日本語",
        "😀",
        "\u2028",
        "\x85",
        "\x07",
        "\ufeff",
        "\u00a0",
        "two\nlines",
    ),
    *(
        " padded ",
        "two\nlines",
        "tab\there",
        "%",
        "@",
        "`",
        "!tag",
        "|",
        ">",
        "x" * 200,
        "to",
        "in",
        "as",
    ),
)
TEXTS: Final = (
    *NAMES,
    "You are a judge.\n\nBe brief:\n  - one\n  - two\n",
    "\n leading line",
    "trailing spaces  \nand\ttabs\t\n\n\n",
    "windows\r\nlines\r\n",
    "{{default}} costs $5 \\n {not: yaml} # no comment",
    "def main(inputs):\n    return {'x': \"y\"}\n",
    "long " * 60,
    "long line\n" * 3 + "word " * 40,
    "",
    " ",
    "\n",
)
TYPES: Final = (
    *("start", "endpoint", "person_job", "person_job", "code_job", "condition", "condition", "db"),
    *("template_job", "sub_diagram", "json_schema_validator", "user_response", "barrier", "delay"),
    *("api_job", "hook", "integrated_api", "typescript_ast", "nobodys_type", "Nobody's Type"),
)
PROP_NAMES: Final = (
    *("code", "language", "code_type", "filePath", "file_path", "file_name", "file", "person"),
    *("source_details", "strict", "schema", "json_schema", "default_prompt", "first_only_prompt"),
    *("expression", "condition_type", "max_iteration", "memory_profile", "memorize_to", "tools"),
    *("custom_data", "output_data_structure", "passInputData", "pass_input_data", "ignoreIfSub"),
    *("join", "k", "fan_out", "retry", "timeout", "on_error", "after_crash", "loop_header"),
    *("label", "type", "id", "props", "data", "position", "flipped", "__typename", "$extra", "a.b"),
)
FIELD_NAMES: Final = (
    *("from", "to", "in", "as", "naming", "type", "label", "id", "key", "props", "data", "source"),
    *("target", "nodes", "connections", "flow", "arrows", "handles", "persons", "version", "name"),
    *("$schema", "$extra", "__typename", "llm_config", "service", "more", "x-note", "position"),
    *("format", "api_keys", "metadata", "content_type", "description", "user.key", "Größe"),
)
METADATA_NAMES: Final = (
    *("author", "tags", "version", "id", "format", "created", "name", "description", "keys"),
    *("labels", "__typename", "$extra", "reducers"),
)
HANDLES: Final = ("default", "results", "success", "first", "weird_port", "condtrue", "a b")
NUMBERS: Final = (0, 1, -1, 0.5, -0.0, 1e300, 1e-300, 0.1, 2**63 - 1, -(2**63), 1e16, 12345.678)


def awkward_diagram(seed: int, specs: Mapping[str, NodeSpec]) -> DomainDiagram:
    """The diagram of that seed: a model that some document means, without places."""
    return _Maker(seed, specs).diagram()


class _Maker:
    def __init__(self, seed: int, specs: Mapping[str, NodeSpec]) -> None:
        self.chance = random.Random(seed)
        self.specs = specs

    def diagram(self) -> DomainDiagram:
        nodes = self.nodes()
        return DomainDiagram(
            nodes=nodes,
            edges=self.edges(nodes),
            persons=self.persons(),
            name=self.maybe(self.text()) or None,
            description=self.maybe(self.text()) or None,
            metadata=self.fields(METADATA_NAMES, 2) if self.often(3) else {},
            extra=self.unknown(2),
        )

    # --- chance ---------------------------------------------------------------------------------

    def often(self, one_in: int) -> bool:
        return self.chance.randrange(one_in) == 0

    def maybe(self, value: Any) -> Any:
        return value if self.often(2) else None

    def text(self) -> str:
        return self.chance.choice(TEXTS)

    def name(self) -> str:
        if self.often(8):
            return self.chance.choice(NAMES) + self.chance.choice(("_", "", " ", "~")) + "A"
        return self.chance.choice(NAMES)

    def names(self, count: int) -> list[str]:
        """That many different names."""
        found: dict[str, None] = {}
        while len(found) < count:
            found.setdefault(self.name())
        return list(found)

    def value(self, depth: int = 0) -> Any:
        kind = self.chance.randrange(9 if depth < 3 else 6)
        match kind:
            case 0:
                return self.chance.choice((None, True, False))
            case 1 | 2:
                return self.chance.choice(NUMBERS)
            case 3 | 4 | 5:
                return self.text()
            case 6:
                return [self.value(depth + 1) for _ in range(self.chance.randrange(4))]
            case _:
                return {self.text(): self.value(depth + 1) for _ in range(self.chance.randrange(4))}

    def fields(self, names: Sequence[str], most: int) -> dict[str, Any]:
        count = self.chance.randint(0, most)
        found = {self.chance.choice(names): self.value() for _ in range(count)}
        return found | ({self.text(): self.value()} if self.often(4) else {})

    def unknown(self, one_in: int) -> dict[str, Any]:
        return self.fields(FIELD_NAMES, 3) if self.often(one_in) else {}

    # --- nodes ----------------------------------------------------------------------------------

    def nodes(self) -> tuple[Node, ...]:
        count = self.chance.choice((1, 2, 3, 3, 4, 5, 6, 8))
        labels = self.names(count)
        if self.often(4):
            labels = [self.chance.choice(labels) for _ in labels]
        ids = self.names(count) if self.often(2) else [f"node_{n}" for n in range(count)]
        if self.often(6):
            self.chance.shuffle(ids)
        keys = self.chance.choice((labels, labels, ids, self.names(count)))
        if len(set(keys)) < count:
            keys = ids
        return tuple(map(self.node, keys, ids, labels))

    def node(self, key: str, id_: str, label: str) -> Node:
        type_ = known_type(self.chance.choice(TYPES), self.specs)
        bag = self.fields(PROP_NAMES, 4)
        return DomainNode(
            key=key,
            id=id_,
            type=type_,
            label=label,
            props=normal_props(type_, (bag,), self.specs.get(type_), lambda _fault: None),
            position=self.position(),
            extra=self.unknown(6),
        )

    def position(self) -> tuple[float, float]:
        if self.often(3):
            return (0.0, 0.0)
        return (float(self.chance.choice(NUMBERS)) + 0.0, float(self.chance.randint(-500, 500)))

    # --- edges ----------------------------------------------------------------------------------

    def edges(self, nodes: Sequence[Node]) -> tuple[DomainEdge, ...]:
        """A chain, edges back (so there are loops), edges to itself, and several of one pair."""
        pairs = list(pairwise(nodes))
        pairs += [
            (self.chance.choice(nodes), self.chance.choice(nodes))
            for _ in range(self.chance.randint(0, 4))
        ]
        if self.often(3):
            self.chance.shuffle(pairs)
        keys = [f"arrow_{number}" for number in range(len(pairs))]
        if self.often(2):
            self.chance.shuffle(keys)
        if self.often(3):
            keys = self.names(len(pairs))
        made = (self.edge(key, *pair) for key, pair in zip(keys, pairs, strict=True))
        return tuple(edge for edge in made if edge is not None)

    def edge(self, key: str, source: Node, target: Node) -> DomainEdge | None:
        outputs, inputs = outputs_of(source.type, self.specs), inputs_of(target.type, self.specs)
        if outputs == () or inputs == ():
            return None
        handle = self.handle(outputs)
        data = branch_data(handle, self.fields((*FIELD_NAMES, "requires_first_execution"), 2))
        transform = self.fields(("extract", "wrap", "map", "template"), 2) if self.often(4) else {}
        return DomainEdge(
            key=key,
            source=source.key,
            target=target.key,
            source_handle=handle,
            target_handle=self.handle(inputs),
            label=(self.maybe(self.text()) or None) if self.often(2) else None,
            content_type=self.chance.choice(CONTENT_TYPES),
            **self.guard(),
            priority=self.chance.choice((0, 0, 0, 1, -7)),
            transform=transform or None,
            data=data or None,
            extra=self.unknown(4),
        )

    def guard(self) -> dict[str, Any]:
        condition = self.text() or None
        match self.chance.randrange(5):
            case 0:
                return {"kind": EdgeKind.WHEN, "condition": condition}
            case 1:
                return {"kind": self.chance.choice(list(EdgeKind))}
            case 2:
                return {"kind": self.chance.choice(list(EdgeKind)), "condition": condition}
            case _:
                return {}

    def handle(self, known: Sequence[str] | None) -> str:
        if known is None:
            return self.chance.choice(HANDLES)
        return self.chance.choice((*known, "default")) if "default" in known else known[0]

    # --- persons --------------------------------------------------------------------------------

    def persons(self) -> tuple[DomainPerson, ...]:
        if self.often(2):
            return ()
        return tuple(map(self.person, self.names(self.chance.randint(1, 3))))

    def person(self, key: str) -> DomainPerson:
        return DomainPerson(
            key=key,
            label=key if self.often(2) else self.name(),
            service=self.chance.choice(("openai", "anthropic", "claude-code", "echo", "1")),
            model=self.chance.choice(("gpt-4-mini", "4", "m: x", "null")),
            system_prompt=self.maybe(self.text()) or None,
            prompt_file=self.maybe("prompts/judge.txt"),
            api_key_id=self.maybe(self.text()) or None,
            extra=self.unknown(3),
        )
