"""Whether somebody may do what an operation asks for: looked up once for each document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    get_named_type,
)

from dipeo_server.api.auth import whole_seconds
from dipeo_server.api.context import ApiLimits, OperationContext, forbidden
from dipeo_server.api.permissions import DECLARED
from dipeo_server.api.recent import Recent
from dipeo_server.domains.access.rates import Rate, RateLimiter
from dipeo_server.domains.access.roles import Permission
from dipeo_server.errors import DipeoError, Forbidden, RateLimited

Declared = Sequence[tuple[Permission, Mapping[str, str]]]

DOCUMENTS_MAX: Final = 1_000
CHARACTERS_MAX: Final = 1_048_576

STARTS: Final = frozenset({"runDiagram", "forkExecution"})
"""Mutations that begin a run."""


class Undeclared(TypeError):
    """The schema has a field that nobody is allowed to ask for."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What an operation asks for: each permission with a field that needs it, and its mutations."""

    needs: tuple[tuple[Permission, str], ...]
    mutations: tuple[str, ...] = ()

    @property
    def starts(self) -> int:
        """How many runs it begins."""
        return sum(name in STARTS for name in self.mutations)


class Authorizer:
    """The permissions of one schema, and how often each principal has changed something of late."""

    def __init__(self, schema: GraphQLSchema, limits: ApiLimits) -> None:
        """Raises Undeclared."""
        self._schema = schema
        self._permissions = permissions_of(schema)
        self._mutations = RateLimiter(Rate(limits.mutations_per_second))
        self._starts = RateLimiter(Rate(limits.starts_per_second))
        self._known: Recent[tuple[str, str | None], Demands] = Recent(DOCUMENTS_MAX, CHARACTERS_MAX)

    def demands_of(self, text: str, document: DocumentNode, operation_name: str | None) -> Demands:
        """What the operation asks for; looked up once for each text."""
        key = (text, operation_name)
        known = self._known.get(key)
        if known is None:
            known = self.demands(document, operation_name)
            self._known.keep(key, known, len(text))
        return known

    def demands(self, document: DocumentNode, operation_name: str | None) -> Demands:
        """What the operation of that name asks for, or the only one. The document is valid."""
        walk = _Walk(self._schema, self._permissions, _fragments(document))
        names: list[str] = []
        for definition in document.definitions:
            if not isinstance(definition, OperationDefinitionNode):
                continue
            if operation_name not in (None, definition.name and definition.name.value):
                continue
            root = self._schema.get_root_type(definition.operation)
            selections = definition.selection_set.selections
            walk.selections(selections, root)
            if definition.operation is OperationType.MUTATION:
                names.extend(walk.names(selections))
        return Demands(tuple(walk.needs.items()), tuple(names))

    def refusal(self, context: OperationContext, demands: Demands) -> GraphQLError | None:
        """Why the operation is not carried out; None if it is. What is denied is written down."""
        who = context.identity
        lacking = next((need for need in demands.needs if not who.may(need[0])), None)
        if not who.is_known:
            return None if lacking is None else _denied(context, *lacking)
        now = context.services.monotonic()
        tries = max(1, len(demands.mutations)) if lacking else len(demands.mutations)
        for limiter, count, what in (
            (self._mutations, tries, "mutations"),
            (self._starts, demands.starts, "runs that begin"),
        ):
            wait = limiter.wait(who.name, now, count) if count else 0.0
            if wait > 0:
                return _too_often(who.name, wait, f"{limiter.rate.count} {what} a second")
        self._mutations.take(who.name, now, tries)
        if lacking is not None:
            return _denied(context, *lacking)
        self._starts.take(who.name, now, demands.starts)
        return None


@dataclass(slots=True)
class _Walk:
    """A walk through an operation, every fragment once; `needs` has what it came by."""

    schema: GraphQLSchema
    permissions: Mapping[tuple[str, str], Permission]
    fragments: Mapping[str, FragmentDefinitionNode]
    needs: dict[Permission, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def selections(
        self, selections: Sequence[SelectionNode], parent: GraphQLNamedType | None
    ) -> None:
        """Walk through a selection of that type."""
        for selected in selections:
            match selected:
                case FieldNode():
                    self._field(selected, parent)
                case InlineFragmentNode(type_condition=condition, selection_set=inner):
                    named = self.schema.type_map[condition.name.value] if condition else parent
                    self.selections(inner.selections, named)
                case FragmentSpreadNode(name=name) if name.value not in self._seen:
                    self._seen.add(name.value)
                    fragment = self.fragments[name.value]
                    named = self.schema.type_map[fragment.type_condition.name.value]
                    self.selections(fragment.selection_set.selections, named)
                case _:
                    pass

    def names(self, selections: Sequence[SelectionNode]) -> list[str]:
        """The names of the fields of one level, fragments put in."""
        found: list[str] = []
        for selected in selections:
            match selected:
                case FieldNode(name=name):
                    found.append(name.value)
                case InlineFragmentNode(selection_set=inner):
                    found.extend(self.names(inner.selections))
                case FragmentSpreadNode(name=name):
                    found.extend(self.names(self.fragments[name.value].selection_set.selections))
                case _:
                    pass
        return found

    def _field(self, selected: FieldNode, parent: GraphQLNamedType | None) -> None:
        name = selected.name.value
        if name.startswith("__"):
            return  # What the schema is, everybody who has been let in may know.
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        self.needs.setdefault(self.permissions[parent.name, name], f"{parent.name}.{name}")
        if selected.selection_set is not None:
            inner = get_named_type(parent.fields[name].type)
            self.selections(selected.selection_set.selections, inner)


def permissions_of(
    schema: GraphQLSchema, declared: Declared = DECLARED
) -> dict[tuple[str, str], Permission]:
    """The permission of every field, by type and name.

    A field of an interface needs what it needs in any of the types that have it. Raises Undeclared
    where the schema has a field that is not declared.
    """
    own = declared_fields(declared)
    found: dict[tuple[str, str], Permission] = {}
    missing: list[str] = []
    for type_ in _types(schema):
        for name in type_.fields:
            sources = [type_.name, *(above.name for above in type_.interfaces)]
            named = next((own[source, name] for source in sources if (source, name) in own), None)
            if named is None:
                missing.append(f"{type_.name}.{name}")
            else:
                found[type_.name, name] = named
    if missing:
        message = f"No permission is declared for {', '.join(missing)}"
        raise Undeclared(f"{message}: do so in dipeo_server/api/permissions.py.")
    _raise_interfaces(schema, found)
    return found


def declared_fields(declared: Declared = DECLARED) -> dict[tuple[str, str], Permission]:
    """What is declared, by type and name of the field."""
    return {
        (type_name, name): permission
        for permission, types in declared
        for type_name, names in types.items()
        for name in names.split()
    }


def _raise_interfaces(schema: GraphQLSchema, found: dict[tuple[str, str], Permission]) -> None:
    """Whoever asks an interface may be answered by any of its types."""
    for type_ in _types(schema):
        for above in type_.interfaces:
            for name in above.fields:
                place = (above.name, name)
                found[place] = found[place].joined(found[type_.name, name])


def _types(schema: GraphQLSchema) -> list[GraphQLObjectType | GraphQLInterfaceType]:
    return [
        type_
        for name, type_ in schema.type_map.items()
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not name.startswith("__")
    ]


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


def _denied(context: OperationContext, permission: Permission, place: str) -> GraphQLError:
    context.note_later(context.attempt(place.removeprefix("Mutation.")), Forbidden.code)
    return _error(forbidden(context.identity, permission, place), requires=str(permission))


def _too_often(name: str, wait: float, most: str) -> GraphQLError:
    if wait == float("inf"):
        message = f"At most {most} are allowed, and the operation asks for more at once."
        return _error(RateLimited(message, retry_after=wait, hint="Send fewer in one request."))
    seconds = whole_seconds(wait)
    message = f"{name!r} asks too often: at most {most} are allowed."
    hint = f"Try again in {seconds} s; a loop may be asking by mistake."
    return _error(RateLimited(message, retry_after=wait, hint=hint), retryAfter=seconds)


def _error(cause: DipeoError, **extensions: object) -> GraphQLError:
    details = {"code": cause.code, "hint": cause.hint, **extensions}
    return GraphQLError(cause.message, extensions=details)
