"""Operations that are valid for a schema, by chance: any fields, any arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
)
from hypothesis import strategies as st

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]

LEVELS: Final = 4
FIELDS: Final = st.integers(1, 4)
RARELY: Final = st.sampled_from([False, False, True])

JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.sampled_from(["", "x", "é"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)
SCALARS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "Int": st.sampled_from([0, 1, 2, 20, 100, -1, 2**31 - 1]),
    "Float": st.sampled_from([0.0, 0.5, -1.0, 1e300]),
    "Boolean": st.booleans(),
    "JSON": JSON,
    "Sequence": st.sampled_from([0, 1, "3", "999999"]),
    "DateTime": st.sampled_from(["2026-01-01T00:00:00Z", "1970-01-01T00:00:00.000001+02:00"]),
    "Duration": st.sampled_from(["PT0S", "PT0.05S", "PT1M", "P1D"]),
}


@dataclass
class Writer:
    """Writes one operation; `texts` and `ids` are those that mean something to the server."""

    schema: GraphQLSchema
    draw: Draw[Any]
    ids: Sequence[str]
    texts: Sequence[str]
    _aliases: int = field(default=0)

    def operation(self) -> str:
        """A query, mutation or subscription."""
        kinds = {
            "query": self.schema.query_type,
            "mutation": self.schema.mutation_type,
            "subscription": self.schema.subscription_type,
        }
        kind = self.draw(st.sampled_from(["query", "query", "mutation", "subscription"]))
        type_ = kinds[kind]
        assert type_ is not None
        most = 1 if kind == "subscription" else self.draw(st.integers(1, 2))
        names = self._some(list(type_.fields), most)
        fields = [self._field(name, type_.fields[name], LEVELS) for name in names]
        return f"{kind} {{ {' '.join(fields)} }}"

    def _some(self, names: list[str], count: int) -> list[str]:
        chosen = self.draw(st.lists(st.sampled_from(names), min_size=1, max_size=count))
        return list(dict.fromkeys(chosen))

    def _selection(self, type_: GraphQLNamedType, levels: int) -> str:
        if is_abstract_type(type_):
            return self._of_several(type_, levels)
        assert isinstance(type_, GraphQLObjectType)
        return " ".join(["__typename", *self._fields(type_, levels)])

    def _of_several(self, type_: Any, levels: int) -> str:
        members = [member.name for member in self.schema.get_possible_types(type_)]
        parts = ["__typename"]
        for name in self._some(members, 3):
            member = self.schema.type_map[name]
            assert isinstance(member, GraphQLObjectType)
            fields = " ".join(["__typename", *self._fields(member, levels, is_apart=True)])
            parts.append(f"... on {name} {{ {fields} }}")
        return " ".join(parts)

    def _fields(
        self, type_: GraphQLObjectType, levels: int, *, is_apart: bool = False
    ) -> list[str]:
        names = [
            name
            for name, field_ in type_.fields.items()
            if levels > 1 or is_leaf_type(get_named_type(field_.type))
        ]
        if not names:
            return []
        return [
            self._field(name, type_.fields[name], levels - 1, is_apart=is_apart)
            for name in self._some(names, self.draw(FIELDS))
        ]

    def _field(
        self, name: str, field_: GraphQLField, levels: int, *, is_apart: bool = False
    ) -> str:
        arguments = self._arguments(field_.args)
        written = name
        if is_apart:
            # Fields of one name must agree over all members of a union.
            self._aliases += 1
            written = f"a{self._aliases}: {name}"
        if arguments:
            written += f"({arguments})"
        type_ = get_named_type(field_.type)
        return (
            written if is_leaf_type(type_) else f"{written} {{ {self._selection(type_, levels)} }}"
        )

    # --- values -----------------------------------------------------------------------------------

    def _arguments(self, named: Mapping[str, GraphQLArgument | GraphQLInputField]) -> str:
        return ", ".join(
            f"{name}: {self._value(each.type)}"
            for name, each in named.items()
            if _is_required(each) or self.draw(RARELY)
        )

    def _value(self, type_: Any) -> str:
        if isinstance(type_, GraphQLNonNull):
            written = self._value(type_.of_type)
            return "0" if written == "null" else written
        if isinstance(type_, GraphQLList):
            count = self.draw(st.integers(0, 2))
            return f"[{', '.join(self._value(type_.of_type) for _ in range(count))}]"
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_)
        if isinstance(type_, GraphQLEnumType):
            return str(self.draw(st.sampled_from(sorted(type_.values))))
        return self._scalar(type_.name)

    def _object(self, type_: GraphQLInputObjectType) -> str:
        if type_.is_one_of:
            name = self.draw(st.sampled_from(sorted(type_.fields)))
            return f"{{{name}: {self._value(type_.fields[name].type)}}}"
        return f"{{{self._arguments(type_.fields)}}}"

    def _scalar(self, name: str) -> str:
        if name == "ID":
            return json.dumps(self.draw(st.sampled_from(self.ids)))
        if name == "String":
            return json.dumps(self.draw(st.sampled_from(self.texts)))
        return _literal(self.draw(SCALARS[name]))


def _is_required(each: GraphQLArgument | GraphQLInputField) -> bool:
    return isinstance(each.type, GraphQLNonNull) and not _has_default(each)


def _has_default(each: GraphQLArgument | GraphQLInputField) -> bool:
    return each.ast_node is not None and each.ast_node.default_value is not None


def _literal(value: Any) -> str:
    match value:
        case dict():
            return f"{{{', '.join(f'{name}: {_literal(item)}' for name, item in value.items())}}}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case _:
            return json.dumps(value)
