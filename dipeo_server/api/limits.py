"""What one operation may ask for, measured before it is validated.

Every fragment is measured once, however often it is spread, so measuring takes time in proportion
to the document even where what it stands for grows exponentially.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)

from dipeo_server.api.context import ApiLimits

# The default page of a connection counts where no size is given.
PAGE_DEFAULTS: Final[Mapping[str, int]] = {
    "executions": 20,
    "children": 20,
    "diagrams": 20,
    "revisions": 20,
    "checkpoints": 20,
    "waitingBarriers": 20,
    "events": 100,
    "logs": 100,
    "audit": 20,
}
_WRAPPERS: Final = frozenset({"nodes", "edges", "node", "pageInfo"})
_SIZES: Final = frozenset({"first", "last"})
_LISTS: Final = frozenset({"ids"})


@dataclass(slots=True)
class Measure:
    """What a selection stands for once its fragments are put in.

    `objects`: how many objects it can give, pages multiplied; `root_fields`: fields of its own
    level. Introspection counts as fields, but not for the depth: a rule of its own bounds it.
    """

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    objects: int = 0

    def add(self, other: Measure) -> None:
        """Put another selection of the same level beside this one, its objects left out."""
        self.depth = max(self.depth, other.depth)
        self.fields += other.fields
        self.root_fields += other.root_fields
        self.aliases += other.aliases
        self.directives += other.directives


@dataclass(slots=True)
class Measuring:
    """Measures the selections of one document, for one set of variables."""

    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    _known: dict[str, Measure] = field(default_factory=dict)

    def selection(self, selections: Sequence[SelectionNode]) -> Measure:
        """The measure of a selection set."""
        total = Measure()
        # An object has one type, so of fragments on different types only one applies.
        by_type: dict[str, int] = {}
        for selected in selections:
            measure, type_name = self._of(selected)
            total.add(measure)
            total.directives += len(selected.directives or ())
            by_type[type_name] = by_type.get(type_name, 0) + measure.objects
        plain = by_type.pop("", 0)
        total.objects = plain + max(by_type.values(), default=0)
        return total

    def _of(self, selected: SelectionNode) -> tuple[Measure, str]:
        """A selection's measure, and the type it is restricted to ("" = any)."""
        match selected:
            case FieldNode():
                return self._field(selected), ""
            case InlineFragmentNode(type_condition=condition, selection_set=inner):
                return self.selection(inner.selections), condition.name.value if condition else ""
            case FragmentSpreadNode(name=name):
                fragment = self.fragments.get(name.value)
                if fragment is None:
                    return Measure(), ""
                return self._fragment(name.value, fragment), fragment.type_condition.name.value
            case _:
                return Measure(), ""

    def _fragment(self, name: str, fragment: FragmentDefinitionNode) -> Measure:
        known = self._known.get(name)
        if known is None:
            # A fragment that spreads itself is refused by validation; here it counts for nothing.
            self._known[name] = Measure()
            known = self._known[name] = self.selection(fragment.selection_set.selections)
        return known

    def _field(self, selected: FieldNode) -> Measure:
        inner_set: SelectionSetNode | None = selected.selection_set
        inner = self.selection(inner_set.selections) if inner_set else Measure()
        name = selected.name.value
        is_introspection = name.startswith("__")
        objects = 0
        if inner_set is not None:
            own = 0 if name in _WRAPPERS else 1
            objects = self._page(selected) * (own + inner.objects)
        return Measure(
            depth=0 if is_introspection else inner.depth + 1,
            fields=inner.fields + 1,
            root_fields=1,
            aliases=inner.aliases + (selected.alias is not None),
            directives=inner.directives,
            objects=objects,
        )

    def _page(self, selected: FieldNode) -> int:
        sizes = []
        for argument in selected.arguments or ():
            if argument.name.value in _SIZES:
                sizes.append(self._number(argument.value))
            elif argument.name.value in _LISTS:
                sizes.append(self._length(argument.value))
        given = [size for size in sizes if size is not None]
        return max(given) if given else PAGE_DEFAULTS.get(selected.name.value, 1)

    def _number(self, value: object) -> int | None:
        """The number that an argument stands for; what is none is refused later, by its type."""
        match value:
            case IntValueNode(value=digits) if len(digits) < 12:
                return max(0, int(digits))
            case VariableNode(name=name):
                given = self.variables.get(name.value)
                # A whole number may be written as 100.0, too.
                if isinstance(given, int | float) and math.isfinite(given):
                    return max(0, int(given))
                return None
            case _:
                return None

    def _length(self, value: object) -> int | None:
        """How many values an argument stands for."""
        match value:
            case ListValueNode(values=values):
                return len(values)
            case VariableNode(name=name):
                given = self.variables.get(name.value)
                return len(given) if isinstance(given, list) else None
            case _:
                return None


def excess(
    document: DocumentNode,
    limits: ApiLimits,
    operation_name: str | None,
    variables: Mapping[str, Any],
) -> GraphQLError | None:
    """What is too much about the operation, or None."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    meant = [
        definition
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode) and _is_meant(definition, operation_name)
    ]
    measuring = Measuring(fragments, {**_defaults(meant), **variables})
    try:
        for operation in meant:
            found = _excess_of(operation, measuring, limits)
            if found is not None:
                return found
    except RecursionError:
        return too_much("The document is nested too deeply.")
    return None


def repeated(document: DocumentNode, limits: ApiLimits) -> GraphQLError | None:
    """What is too much about fields that give the same name, or None.

    Validation compares each with each, over all operations and fragments of the document.
    """
    names: Counter[str] = Counter()
    rest: list[SelectionSetNode | None] = [
        getattr(definition, "selection_set", None) for definition in document.definitions
    ]
    while rest:
        inner = rest.pop()
        for selected in inner.selections if inner is not None else ():
            if isinstance(selected, FieldNode):
                names[(selected.alias or selected.name).value] += 1
            rest.append(getattr(selected, "selection_set", None))
    pairs = sum(count * (count - 1) // 2 for count in names.values())
    if pairs <= limits.field_pairs:
        return None
    [(name, count)] = names.most_common(1)
    return too_much(f"The document asks for {name!r} {count} times, and so for too many pairs.")


def too_much(message: str) -> GraphQLError:
    """The error of an operation that asks for more than a limit allows."""
    return GraphQLError(message, extensions={"code": "LIMIT_EXCEEDED"})


def _is_meant(operation: OperationDefinitionNode, name: str | None) -> bool:
    return name is None or (operation.name is not None and operation.name.value == name)


def _defaults(operations: Sequence[OperationDefinitionNode]) -> dict[str, Any]:
    """The numbers and lists that variables stand for where none are given."""
    found: dict[str, Any] = {}
    for operation in operations:
        for variable in operation.variable_definitions or ():
            match variable.default_value:
                case IntValueNode(value=digits) if len(digits) < 12:
                    found[variable.variable.name.value] = int(digits)
                case ListValueNode(values=values):
                    found[variable.variable.name.value] = list(values)
                case _:
                    pass
    return found


def _excess_of(
    operation: OperationDefinitionNode, measuring: Measuring, limits: ApiLimits
) -> GraphQLError | None:
    found = measuring.selection(operation.selection_set.selections)
    is_mutation = operation.operation is OperationType.MUTATION
    bounds = (
        ("fields", found.fields, limits.fields),
        ("levels of fields", found.depth, limits.depth),
        ("aliases", found.aliases, limits.aliases),
        ("directives", found.directives, limits.directives),
        ("root fields", found.root_fields, limits.root_fields),
        ("mutations", found.root_fields if is_mutation else 0, limits.mutations),
        ("objects", found.objects, limits.cost),
    )
    for what, count, limit in bounds:
        if count > limit:
            return too_much(f"The operation asks for {count} {what}; at most {limit} are allowed.")
    return None
