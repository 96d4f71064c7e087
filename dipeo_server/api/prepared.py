"""Documents that were seen before are neither parsed nor validated again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse
from strawberry.schema.schema import validate_document
from strawberry.types import ExecutionContext

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.limits import excess
from dipeo_server.api.masking import VALIDATION_FAILED

DOCUMENTS_MAX: Final = 1_000
CHARACTERS_MAX: Final = 16_384
"""Longer documents are not kept."""


@dataclass(slots=True)
class _Known:
    document: DocumentNode
    problems: list[GraphQLError] | None = None


class PreparedDocuments:
    """The documents of one schema by their text; the least recently used goes first."""

    def __init__(self, limits: ApiLimits) -> None:
        self.limits = limits
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def parsed(self, text: str | None) -> DocumentNode | None:
        """The document of a text; None where it cannot be parsed, or not within the limits."""
        if not text:
            return None
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known.document
        try:
            document = parse(text, max_tokens=self.limits.tokens)
        except (GraphQLError, RecursionError):
            # Strawberry parses it once more, and answers with what is wrong.
            return None
        self._keep(text, _Known(document))
        return document

    def problems(self, operation: ExecutionContext, name: str | None) -> list[GraphQLError]:
        """What is wrong with an operation: too much, ambiguous or invalid."""
        document = operation.graphql_document
        assert document is not None
        found = excess(document, self.limits, name, operation.variables or {})
        if found is not None:
            return [found]
        if name is None and _operation_count(document) > 1:
            message = "The document has several operations: `operationName` must name one."
            return [GraphQLError(message, extensions={"code": VALIDATION_FAILED})]
        return self._invalid(operation, document)

    def _invalid(self, operation: ExecutionContext, document: DocumentNode) -> list[GraphQLError]:
        known = self._known.get(operation.query or "")
        if known is not None and known.problems is not None:
            return known.problems
        schema = operation.schema._schema  # noqa: SLF001 - Strawberry gives it no public name
        found = validate_document(schema, document, operation.validation_rules)
        for error in found:
            error.extensions = {"code": VALIDATION_FAILED}
        if known is not None:
            known.problems = found
        return found

    def _keep(self, text: str, known: _Known) -> None:
        if len(text) > CHARACTERS_MAX:
            return
        self._known[text] = known
        while len(self._known) > DOCUMENTS_MAX:
            self._known.popitem(last=False)


def _operation_count(document: DocumentNode) -> int:
    return sum(
        isinstance(definition, OperationDefinitionNode) for definition in document.definitions
    )
