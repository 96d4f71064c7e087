"""The loop forest of a diagram: structured loops, their headers, back edges, tails and exits.

Rules 1 and 2 of the execution semantics. Everything here is close to linear in nodes and edges,
and nothing recurses, so a diagram of 10,000 nodes compiles quickly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Link:
    """An edge as the loop forest sees it."""

    source: int
    port: str
    target: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A diagram as the loop forest sees it; nodes and links by index, in file order."""

    size: int
    links: tuple[Link, ...]
    starts: tuple[int, ...]
    endpoints: frozenset[int]
    conditions: frozenset[int]
    chosen_headers: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Loop:
    """A loop while the forest is built; the root (index 0) is the whole run."""

    header: int | None
    core: set[int]
    parent: Loop | None = None
    children: list[Loop] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    region: set[int] = field(default_factory=set)
    entries: tuple[int, ...] = ()
    index: int = 0

    def chain(self) -> list[Loop]:
        """This loop and all around it, innermost first."""
        found: list[Loop] = []
        loop: Loop | None = self
        while loop is not None:
            found.append(loop)
            loop = loop.parent
        return found


@dataclass(frozen=True, slots=True)
class LoopForest:
    """The finished forest. `loop_of` is None for nodes that no start reaches.

    `back_of`, `entering` and `exit_of` are per link; `ambiguous` are loops with several entries
    none or several of which the author chose as header: (header, entries).
    """

    loops: tuple[Loop, ...]
    loop_of: tuple[int | None, ...]
    back_of: tuple[int | None, ...]
    entering: tuple[tuple[int, ...], ...]
    exit_of: tuple[int | None, ...]
    is_alive: tuple[bool, ...]
    ambiguous: tuple[tuple[int, tuple[int, ...]], ...]


def build_forest(shape: Shape) -> LoopForest:
    """The loop forest of a diagram."""
    return _Builder(shape).build()


class _Builder:
    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.links = shape.links
        self.outgoing: list[list[int]] = [[] for _ in range(shape.size)]
        for number, link in enumerate(shape.links):
            self.outgoing[link.source].append(number)
        self.distance = self._distances()
        self.is_alive = tuple(link.source in self.distance for link in shape.links)
        self.incoming: list[list[int]] = [[] for _ in range(shape.size)]
        for number, link in enumerate(shape.links):
            if self.is_alive[number]:
                self.incoming[link.target].append(number)
        self.back: dict[int, Loop] = {}
        self.innermost: dict[int, Loop] = {}

    def build(self) -> LoopForest:
        root = Loop(None, set(self.distance))
        self._nest(root)
        self._assign(root)
        self._adopt_tails(root)
        loops = _number(root)
        return self._finish(loops)

    def _distances(self) -> dict[int, int]:
        """Fewest links from a start; nodes that no start reaches are missing."""
        distance = dict.fromkeys(self.shape.starts, 0)
        queue = deque(self.shape.starts)
        while queue:
            node = queue.popleft()
            for number in self.outgoing[node]:
                target = self.links[number].target
                if target not in distance:
                    distance[target] = distance[node] + 1
                    queue.append(target)
        return distance

    # --- rule 1: strongly connected components, nested ------------------------------------------

    def _nest(self, root: Loop) -> None:
        pending = [root]
        while pending:
            parent = pending.pop()
            for component in self._components(parent.core):
                loop = self._loop_of(component, parent)
                parent.children.append(loop)
                pending.append(loop)

    def _forward(self, node: int, within: set[int]) -> list[int]:
        return [
            self.links[number].target
            for number in self.outgoing[node]
            if number not in self.back and self.links[number].target in within
        ]

    def _components(self, nodes: set[int]) -> list[set[int]]:
        """Components of two or more nodes, or with a self-edge, in file order."""
        found = [
            component
            for component in strong_components(sorted(nodes), lambda n: self._forward(n, nodes))
            if len(component) > 1 or self._is_self_loop(next(iter(component)), nodes)
        ]
        return sorted(found, key=min)

    def _is_self_loop(self, node: int, nodes: set[int]) -> bool:
        return node in self._forward(node, nodes)

    def _loop_of(self, core: set[int], parent: Loop) -> Loop:
        entries = tuple(
            node
            for node in sorted(core)
            if any(self.links[number].source not in core for number in self.incoming[node])
        )
        header = min(entries, key=lambda node: self._header_rank(node, core))
        loop = Loop(header, core, parent, entries=entries)
        for number in self.incoming[header]:
            if self.links[number].source in core and number not in self.back:
                self.back[number] = loop
                loop.back.append(number)
        return loop

    def _header_rank(self, node: int, core: set[int]) -> tuple[bool, bool, int, int]:
        from_condition = any(
            self.links[number].source in core
            and self.links[number].source in self.shape.conditions
            and number not in self.back
            for number in self.incoming[node]
        )
        is_chosen = node in self.shape.chosen_headers
        return (not is_chosen, not from_condition, self.distance[node], node)

    def _assign(self, root: Loop) -> None:
        for loop in _outer_first(root):
            loop.region = set(loop.core)
            for node in loop.core:
                self.innermost[node] = loop

    # --- rule 2: tails --------------------------------------------------------------------------

    def _adopt_tails(self, root: Loop) -> None:
        pending = [root]
        while pending:
            around = pending.pop()
            for loop in list(around.children):
                if loop.parent is around:
                    _Tail(self, around, loop).adopt()
            pending.extend(around.children)

    # --- the result -----------------------------------------------------------------------------

    def _finish(self, loops: list[Loop]) -> LoopForest:
        entering: list[tuple[int, ...]] = []
        exit_of: list[int | None] = []
        for number, link in enumerate(self.links):
            into, out = self._crossed(link) if self.is_alive[number] else ((), None)
            entering.append(into)
            exit_of.append(out)
        return LoopForest(
            loops=tuple(loops),
            loop_of=tuple(
                self.innermost[node].index if node in self.innermost else None
                for node in range(self.shape.size)
            ),
            back_of=tuple(
                self.back[number].index if number in self.back else None
                for number in range(len(self.links))
            ),
            entering=tuple(entering),
            exit_of=tuple(exit_of),
            is_alive=self.is_alive,
            ambiguous=tuple(
                (loop.header, loop.entries)
                for loop in loops
                if loop.header is not None and not self._is_plain(loop)
            ),
        )

    def _is_plain(self, loop: Loop) -> bool:
        """Is there one entry only, or one that was chosen?"""
        chosen = self.shape.chosen_headers.intersection(loop.entries)
        return len(loop.entries) == 1 or len(chosen) == 1

    def _crossed(self, link: Link) -> tuple[tuple[int, ...], int | None]:
        source, target = self.innermost[link.source], self.innermost[link.target]
        if source is target:
            return (), None
        from_chain, to_chain = source.chain(), target.chain()
        left = [loop for loop in from_chain if loop not in to_chain]
        into = tuple(loop.index for loop in to_chain if loop not in from_chain)
        return into, left[-1].index if left else None


class _Tail:
    """Finds what of the block around a loop runs once in each of the loop's turns."""

    def __init__(self, builder: _Builder, around: Loop, loop: Loop) -> None:
        self.builder = builder
        self.around = around
        self.loop = loop
        self.missing: dict[int, int] = {}
        self.queue: deque[int] = deque()

    def adopt(self) -> None:
        taps = self._tapped_ports()
        for node in self.loop.core:
            self._reached(
                number
                for number in self.builder.outgoing[node]
                if (node, self.builder.links[number].port) in taps
            )
        while self.queue:
            self._join(self.queue.popleft())

    def _tapped_ports(self) -> set[tuple[int, str]]:
        links, core = self.builder.links, self.loop.core
        return {
            (node, links[number].port)
            for node in core
            for number in self.builder.outgoing[node]
            if links[number].target in core
        }

    def _item(self, node: int) -> Loop | None:
        """The loop of the same block that holds the node, if it is not of the block itself."""
        loop = self.builder.innermost[node]
        while loop is not self.around and loop.parent is not self.around:
            if loop.parent is None:
                return None
            loop = loop.parent
        return None if loop is self.around else loop

    def _members(self, node: int) -> set[int]:
        item = self._item(node)
        return {node} if item is None else item.region

    def _reached(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            target = self.builder.links[number].target
            if target in self.loop.region or target not in self.around.region:
                continue
            members = self._members(target)
            first = min(members)
            if first not in self.missing:
                self.missing[first] = self._awaited(members)
            self.missing[first] -= 1
            if self.missing[first] == 0 and self._may_join(members):
                self.queue.append(first)

    def _awaited(self, members: set[int]) -> int:
        builder = self.builder
        return sum(
            1
            for node in members
            for number in builder.incoming[node]
            if builder.links[number].source not in members and number not in builder.back
        )

    def _may_join(self, members: set[int]) -> bool:
        shape = self.builder.shape
        fixed = shape.endpoints.union(shape.starts)
        return fixed.isdisjoint(members) and self.around.header not in members

    def _join(self, first: int) -> None:
        builder = self.builder
        item = self._item(first)
        members = set(self._members(first))
        if item is None:
            builder.innermost[first] = self.loop
        else:
            self.around.children.remove(item)
            self.loop.children.append(item)
            item.parent = self.loop
        self.loop.region |= members
        self._reached(
            number
            for node in members
            for number in builder.outgoing[node]
            if builder.links[number].target not in members and number not in builder.back
        )


def strong_components(
    nodes: Sequence[int], successors: Callable[[int], Iterable[int]]
) -> list[set[int]]:
    """Tarjan's strongly connected components, without recursion."""
    search = _Tarjan(successors)
    for root in nodes:
        if root not in search.order:
            search.explore(root)
    return search.found


class _Tarjan:
    def __init__(self, successors: Callable[[int], Iterable[int]]) -> None:
        self.successors = successors
        self.found: list[set[int]] = []
        self.order: dict[int, int] = {}
        self.low: dict[int, int] = {}
        self.path: list[int] = []
        self.on_path: set[int] = set()
        self.work: list[tuple[int, Iterator[int]]] = []

    def explore(self, root: int) -> None:
        self._visit(root)
        while self.work:
            node, following = self.work[-1]
            target = self._next_unseen(node, following)
            if target is None:
                self._leave(node)
            else:
                self._visit(target)

    def _visit(self, node: int) -> None:
        self.order[node] = self.low[node] = len(self.order)
        self.path.append(node)
        self.on_path.add(node)
        self.work.append((node, iter(self.successors(node))))

    def _next_unseen(self, node: int, following: Iterator[int]) -> int | None:
        for target in following:
            if target not in self.order:
                return target
            if target in self.on_path:
                self.low[node] = min(self.low[node], self.order[target])
        return None

    def _leave(self, node: int) -> None:
        self.work.pop()
        if self.work:
            above = self.work[-1][0]
            self.low[above] = min(self.low[above], self.low[node])
        if self.low[node] != self.order[node]:
            return
        component: set[int] = set()
        while node not in component:
            member = self.path.pop()
            self.on_path.discard(member)
            component.add(member)
        self.found.append(component)


def _outer_first(root: Loop) -> list[Loop]:
    found = [root]
    for loop in found:
        found.extend(loop.children)
    return found


def _number(root: Loop) -> list[Loop]:
    loops = _outer_first(root)
    for index, loop in enumerate(loops):
        loop.index = index
    return loops
