"""Documents that were seen before are neither parsed nor validated again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse
from strawberry.schema.schema import validate_document
from strawberry.types import ExecutionContext

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.limits import excess, repeated, too_much
from dipeo_server.api.masking import VALIDATION_FAILED
from dipeo_server.api.recent import Recent

DOCUMENTS_MAX: Final = 1_000
CHARACTERS_MAX: Final = 16_384
"""Longer documents are not kept."""
CHARACTERS_TOTAL_MAX: Final = 262_144
"""All that are kept have so many: a parsed one takes up to 200 bytes for each."""


@dataclass(slots=True)
class _Known:
    document: DocumentNode | None
    fault: GraphQLError | None = None
    problems: list[GraphQLError] | None = None


class PreparedDocuments:
    """The documents of one schema by their text; the least recently used goes first."""

    def __init__(self, limits: ApiLimits) -> None:
        self.limits = limits
        self._known: Recent[str, _Known] = Recent(DOCUMENTS_MAX, CHARACTERS_TOTAL_MAX)
        # One request asks several times, also for what is not kept.
        self._newest: tuple[str, _Known] | None = None

    def parsed(self, text: str) -> DocumentNode | None:
        """The document of a text; None where it cannot be parsed, or not within the limits."""
        return self._prepare(text).document

    def fault(self, text: str) -> GraphQLError | None:
        """Why a text is no document that may be run; None if it is one, as far as one can see."""
        return self._prepare(text).fault

    def _prepare(self, text: str) -> _Known:
        known = self._known.get(text)
        if known is not None:
            return known
        if self._newest is not None and self._newest[0] == text:
            return self._newest[1]
        known = self._parse(text)
        self._newest = (text, known)
        if known.document is not None and len(text) <= CHARACTERS_MAX:
            self._known.keep(text, known, len(text))
        return known

    def _parse(self, text: str) -> _Known:
        most = self.limits.document_characters
        if len(text) > most:
            message = f"The document has {len(text)} characters; at most {most} are allowed."
            return _Known(None, too_much(f"{message} Send long texts as variables."))
        try:
            return _Known(parse(text, max_tokens=self.limits.tokens))
        except GraphQLError as error:
            return _Known(None, error)
        except RecursionError:
            return _Known(None, too_much("The document is nested too deeply."))

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
        return self._validated(operation, document)

    def _validated(self, operation: ExecutionContext, document: DocumentNode) -> list[GraphQLError]:
        known = self._prepare(operation.query or "")
        if known.problems is not None:
            return known.problems
        ambiguous = repeated(document, self.limits)
        known.problems = [ambiguous] if ambiguous is not None else _invalid(operation, document)
        return known.problems


def _invalid(operation: ExecutionContext, document: DocumentNode) -> list[GraphQLError]:
    schema = operation.schema._schema  # noqa: SLF001 - Strawberry gives it no public name
    found = validate_document(schema, document, operation.validation_rules)
    for error in found:
        error.extensions = {"code": VALIDATION_FAILED}
    return found


def _operation_count(document: DocumentNode) -> int:
    return sum(
        isinstance(definition, OperationDefinitionNode) for definition in document.definitions
    )
