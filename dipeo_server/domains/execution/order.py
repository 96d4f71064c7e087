"""Which nodes may run next, seen from the graph alone: the planner of source document 002.

The machine does not ask this: it counts tokens. This answers for those who drive a diagram by
hand, for previews and for validation.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableEdge


class DynamicOrderCalculator:
    """Calculates execution order from dependencies; back edges of loops do not count."""

    def __init__(self, diagram: ExecutableDiagram) -> None:
        self.diagram = diagram

    def get_ready_nodes(
        self,
        completed: Collection[str],
        failed: Collection[str] = (),
        *,
        skipped: Collection[str] = (),
    ) -> list[str]:
        """Keys of nodes that may run now: by priority of their edges, then in file order.

        All their dependencies are settled, at least one of them is completed, none has failed.
        """
        done = {*completed, *failed, *skipped}
        ready = [
            node
            for node in self.diagram.nodes
            if node.block is not None
            and node.key not in done
            and self._is_ready(node.key, completed, skipped)
        ]
        ready.sort(key=lambda node: (-self._priority(node.key), node.index))
        return [node.key for node in ready]

    def calculate_dependencies(self, node_id: str) -> set[str]:
        """Keys of the nodes that this one waits for. Raises KeyError."""
        return set(self._dependencies[self.diagram.get_node(node_id).key])

    def parallel_sets(self) -> list[list[str]]:
        """Topological levels: what stands in one list may run side by side."""
        level: dict[str, int] = {}
        for key in self.topological_order():
            before = [level[each] for each in self._dependencies[key] if each in level]
            level[key] = 1 + max(before, default=-1)
        found: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=-1))]
        for key, number in level.items():
            found[number].append(key)
        return found

    def topological_order(self) -> list[str]:
        """Reachable nodes, each behind what it depends on, otherwise in file order."""
        left = {key: len(before) for key, before in self._dependencies.items()}
        queue = [key for key, count in left.items() if count == 0]
        for key in queue:
            for follower in self._followers[key]:
                left[follower] -= 1
                if left[follower] == 0:
                    queue.append(follower)
        return queue

    def cycles(self) -> list[list[str]]:
        """The loops: keys of the nodes of each, outer loops before inner ones."""
        nodes = self.diagram.nodes
        return [
            sorted(nodes[index].key for index in self._members(block.index))
            for block in self.diagram.blocks
            if block.header is not None
        ]

    def _members(self, block: int) -> list[int]:
        found = list(self.diagram.blocks[block].nodes)
        for child in self.diagram.blocks[block].children:
            found.extend(self._members(child))
        return found

    def _is_ready(self, key: str, completed: Collection[str], skipped: Collection[str]) -> bool:
        before = self._dependencies[key]
        if not before:
            return self.diagram.get_node(key).is_start
        settled = all(each in completed or each in skipped for each in before)
        return settled and any(each in completed for each in before)

    def _priority(self, key: str) -> int:
        return max((edge.priority for edge in self._incoming(key)), default=0)

    def _incoming(self, key: str) -> list[ExecutableEdge]:
        edges = (self.diagram.edges[index] for index in self.diagram.get_node(key).incoming)
        return [edge for edge in edges if edge.back_of is None]

    @cached_property
    def _dependencies(self) -> dict[str, tuple[str, ...]]:
        nodes = self.diagram.nodes
        return {
            node.key: tuple({nodes[edge.source].key: None for edge in self._incoming(node.key)})
            for node in nodes
            if node.block is not None
        }

    @cached_property
    def _followers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {key: [] for key in self._dependencies}
        for key, before in self._dependencies.items():
            for each in before:
                found[each].append(key)
        return found
