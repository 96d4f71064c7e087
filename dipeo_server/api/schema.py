"""The schema: its types from a frozen registry, and how operations run in it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
)
from graphql.execution import Executor
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext, StreamResult
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.execution import PreExecutionError
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType
from typing_extensions import override

from dipeo_server.api.authorization import Authorizer
from dipeo_server.api.context import ApiLimits, Connection, OperationContext
from dipeo_server.api.masking import public_error, public_errors
from dipeo_server.api.metrics import MeasuredOperation
from dipeo_server.api.mutation import Mutation
from dipeo_server.api.persisted import PersistedDocuments
from dipeo_server.api.prepared import PreparedDocuments
from dipeo_server.api.query import Query
from dipeo_server.api.subscription import Subscription
from dipeo_server.api.types.events import EVENT_TYPES
from dipeo_server.api.types.execution import DiagramRevision
from dipeo_server.api.types.node_types import is_node_type, node_type_enum
from dipeo_server.api.types.outcome import Envelope
from dipeo_server.api.types.problems import PROBLEM_TYPES
from dipeo_server.api.types.scalars import SCALARS
from dipeo_server.domains.diagram.spec import NodeSpec

_ONLY_THROUGH_INTERFACES = (Envelope, DiagramRevision, *EVENT_TYPES, *PROBLEM_TYPES)


class BoundedExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes a subscription's events without remembering them.

    graphql-core shares a memo of sub-selections between all events of a subscription; its keys are
    new lists for each event, so it would only ever grow. What resolvers load would, too.
    """

    @override
    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        """The executor of one event, with a memo of its own."""
        executor: Executor[Any] = super().build_per_event_executor(payload)
        context: OperationContext = executor.context_value
        context.begin_anew()
        executor._relevant_sub_fields = {}  # noqa: SLF001 - there is no public way to bound it
        return executor


class Schema(strawberry.Schema):
    """Strawberry's schema, with the enum of this registry's node types.

    `context_value` of an operation is its Connection; resolvers get an OperationContext of their
    own operation. Errors in results are fit for clients.
    """

    def __init__(
        self,
        specs: Mapping[str, NodeSpec],
        limits: ApiLimits,
        trusted_documents: Mapping[str, str] | None = None,
    ) -> None:
        self.persisted = PersistedDocuments(trusted_documents, limits)
        self._node_types = node_type_enum(specs)
        self._prepared = prepared = PreparedDocuments(limits)
        super().__init__(
            query=Query,
            mutation=Mutation,
            subscription=Subscription,
            types=_ONLY_THROUGH_INTERFACES,
            extensions=[
                MeasuredOperation,
                lambda: _Prepared(prepared),
                lambda: _Authorized(self._authorizer),
            ],
            execution_context_class=BoundedExecutor,
            config=StrawberryConfig(scalar_map=SCALARS),
        )
        _leave_out_null_defaults(self._schema)
        self._authorizer = Authorizer(self._schema, limits)

    @cached_property
    def content_hash(self) -> str:
        """The same for the same schema."""
        return hashlib.blake2b(self.as_str().encode(), digest_size=16).hexdigest()

    @override
    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        """The fields of a type, NodeType being the enum of this schema."""
        return [self._with_node_types(field) for field in super().get_fields(type_definition)]

    @override
    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Run one query or mutation."""
        fault = self.fault_of(query)
        if fault is not None:
            return ExecutionResult(data=None, errors=[fault])
        context = self._operation(context_value, operation_name)
        result = await super().execute(
            query,
            variable_values,
            context,
            root_value,
            operation_name,
            allowed_operation_types,
            operation_extensions,
        )
        await context.noted()
        result.errors = public_errors(result.errors)
        return result

    @override
    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """Run any operation; queries and mutations give one result."""
        try:
            query = self.persisted.text(query, operation_extensions)
        except GraphQLError as error:
            return _only(PreExecutionError(data=None, errors=[error]))
        fault = self.fault_of(query)
        if fault is not None:
            return _only(PreExecutionError(data=None, errors=[fault]))
        context = self._operation(context_value, operation_name)
        results = await super().stream(
            query,
            variable_values,
            context,
            root_value,
            operation_name,
            operation_extensions,
            allowed_operation_types,
        )
        await context.noted()
        return _public(results)

    def fault_of(self, text: str | None) -> GraphQLError | None:
        """Why a text is no document that may be run, as clients may read it; None if it is one."""
        fault = self._prepared.fault(text) if text else None
        return None if fault is None else public_error(fault)

    def kind_of(self, text: str, operation_name: str | None) -> OperationType | None:
        """What kind of operation is meant; None where there is no such operation.

        Of several the first one, if none is named: that is refused before it is run.
        """
        document = self._prepared.parsed(text)
        for definition in document.definitions if document is not None else ():
            if isinstance(definition, OperationDefinitionNode) and (
                operation_name is None
                or (definition.name is not None and definition.name.value == operation_name)
            ):
                return OperationType(definition.operation.value)
        return None

    @override
    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Nothing: what has to be logged is logged where it is masked."""

    def _operation(self, connection: Any, name: str | None) -> OperationContext:
        assert isinstance(connection, Connection)
        return OperationContext(connection, lambda: self.content_hash, name)

    def _with_node_types(self, field: StrawberryField) -> StrawberryField:
        if not is_node_type(field.type):
            return field
        own = copy.copy(field)
        own.type = self._node_types
        return own


class _Prepared(SchemaExtension):
    """Takes an operation's document, and what is wrong with it, from the cache."""

    def __init__(self, documents: PreparedDocuments) -> None:
        self._documents = documents

    @override
    def on_parse(self) -> Iterator[None]:
        operation = self.execution_context
        operation.parse_options["max_tokens"] = self._documents.limits.tokens
        operation.graphql_document = self._documents.parsed(operation.query or "")
        yield

    @override
    def on_validate(self) -> Iterator[None]:
        operation = self.execution_context
        context: OperationContext = operation.context
        operation.pre_execution_errors = self._documents.problems(operation, context.operation_name)
        yield


class _Authorized(SchemaExtension):
    """Carries out what is valid only for those who may do it."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    @override
    def on_validate(self) -> Iterator[None]:
        # Behind `_Prepared`, which has found what is wrong; before anything looks at the errors.
        operation = self.execution_context
        if not operation.pre_execution_errors:
            document, context = operation.graphql_document, operation.context
            assert document is not None
            demands = self._authorizer.demands_of(
                operation.query or "", document, context.operation_name
            )
            refusal = self._authorizer.refusal(context, demands)
            operation.pre_execution_errors = [] if refusal is None else [refusal]
        yield


def _leave_out_null_defaults(schema: GraphQLSchema) -> None:
    """An optional value is left out or null; `= null` would only say so once more."""
    for type_ in schema.type_map.values():
        values: list[GraphQLArgument | GraphQLInputField] = []
        if isinstance(type_, GraphQLInputObjectType):
            values.extend(type_.fields.values())
        if isinstance(type_, GraphQLObjectType):
            values.extend(arg for field in type_.fields.values() for arg in field.args.values())
        for value in values:
            if value.default_value is None:
                value.default_value = Undefined


async def _only(result: ExecutionResult) -> AsyncGenerator[Any, None]:
    yield result


async def _public(results: StreamResult) -> AsyncGenerator[Any, None]:
    async with aclosing(results):
        async for result in results:
            if isinstance(result, ExecutionResult):
                result.errors = public_errors(result.errors)
            yield result


def build_schema(
    specs: Mapping[str, NodeSpec],
    limits: ApiLimits | None = None,
    trusted_documents: Mapping[str, str] | None = None,
) -> Schema:
    """The schema of a server with these node types."""
    return Schema(specs, limits or ApiLimits(), trusted_documents)


def print_schema_sdl(specs: Mapping[str, NodeSpec]) -> str:
    """The schema as text, the same for the same node types; ends with a newline."""
    return build_schema(specs).as_str().rstrip() + "\n"
