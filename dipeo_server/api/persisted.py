"""Documents that clients name by a hash or an id instead of sending them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from graphql import GraphQLError, parse

from dipeo_server.api.context import ApiLimits
from dipeo_server.api.json_dialect import loads
from dipeo_server.api.recent import Recent
from dipeo_server.errors import InvalidInput

BAD_REQUEST: Final = "BAD_REQUEST"
NOT_FOUND: Final = "PERSISTED_QUERY_NOT_FOUND"
NOT_TRUSTED: Final = "DOCUMENT_NOT_TRUSTED"

LONGEST_MAX: Final = 32
"""All that are kept have as many characters as so many of the longest ones."""

MANIFEST_HINT: Final = 'Write {"id": "query { … }"}: documents by their ids, or by their SHA-256.'


class PersistedDocuments:
    """The documents that clients have sent together with their hash; least recently used go first.

    Where `trusted` documents are given, by their ids, these are the only ones: a text is taken if
    it is one of them, and nothing is kept of what clients send.
    """

    def __init__(
        self, trusted: Mapping[str, str] | None = None, limits: ApiLimits | None = None
    ) -> None:
        self._limits = limits or ApiLimits()
        self._trusted = None if trusted is None else _by_every_name(trusted)
        most = self._limits.persisted_characters * LONGEST_MAX
        self._kept: Recent[str, str] = Recent(self._limits.persisted_documents, most)

    def text(
        self, query: str | None, extensions: Mapping[str, Any] | None, id_: str | None = None
    ) -> str | None:
        """The document that is meant; None if none is named at all.

        Raises GraphQLError: BAD_REQUEST, PERSISTED_QUERY_NOT_FOUND, DOCUMENT_NOT_TRUSTED.
        """
        digest = _digest_in(extensions)
        if query and digest and _digest_of(query) != digest:
            message = "`persistedQuery.sha256Hash` is not the SHA-256 of `query`."
            raise _refusal(message, BAD_REQUEST)
        if self._trusted is not None:
            return self._trusted_text(self._trusted, query, id_ or digest)
        if query:
            if digest:
                self._keep(digest, query)
            return query
        name = digest or _bare(id_)
        return None if name is None else self._found(name)

    def _trusted_text(
        self, trusted: Mapping[str, str], query: str | None, name: str | None
    ) -> str | None:
        if query:
            if _digest_of(query) in trusted:
                return query
            message = "Only the documents that this server knows may be run; this is none of them."
            raise _refusal(message, NOT_TRUSTED)
        if name is None:
            return None
        found = trusted.get(_bare(name) or "")
        if found is None:
            raise _not_found()
        return found

    def _found(self, name: str) -> str:
        found = self._kept.get(name)
        if found is None:
            raise _not_found()
        return found

    def _keep(self, digest: str, query: str) -> None:
        if len(query) > self._limits.persisted_characters:
            return
        self._kept.keep(digest, query, len(query))


def read_manifest(text: bytes, name: str) -> dict[str, str]:
    """Documents by their ids, from JSON: an object of these, or Apollo's manifest.

    `name` is that of the file. Raises InvalidInput.
    """
    try:
        documents = _documents_of(loads(text))
        for id_, document in documents.items():
            _check_parses(id_, document)
    except ValueError as error:
        message = f"The trusted documents of {name} cannot be read: {error}"
        raise InvalidInput(message, hint=MANIFEST_HINT) from error
    return documents


def _check_parses(id_: str, document: str) -> None:
    try:
        parse(document)
    except GraphQLError as error:
        raise ValueError(f"{id_!r} is no GraphQL document: {error.message}") from error


def _documents_of(manifest: object) -> dict[str, str]:
    if not isinstance(manifest, dict):
        raise ValueError("it must be an object")  # noqa: TRY004 - a text is read: its value is wrong
    documents = manifest
    if manifest.get("format") == "apollo-persisted-query-manifest":
        operations = manifest.get("operations")
        if not isinstance(operations, list) or not all(isinstance(e, dict) for e in operations):
            raise ValueError("`operations` must be a list of objects")
        documents = {each.get("id"): each.get("body") for each in operations}
    if not all(isinstance(text, str) for pair in documents.items() for text in pair):
        raise ValueError("each id and each document must be a text")
    return documents


def _digest_in(extensions: Mapping[str, Any] | None) -> str | None:
    """The hash that `extensions.persistedQuery` names, if there is one."""
    named = (extensions or {}).get("persistedQuery")
    if named is None:
        return None
    if not isinstance(named, dict) or not isinstance(named.get("sha256Hash"), str):
        message = "`persistedQuery` must be an object with a `sha256Hash`."
        raise _refusal(message, BAD_REQUEST)
    if named.get("version") != 1:
        raise _refusal("`persistedQuery.version` must be 1.", BAD_REQUEST)
    return str(named["sha256Hash"]).lower()


def _by_every_name(trusted: Mapping[str, str]) -> dict[str, str]:
    """Documents by their ids and by their hashes."""
    by_digest = {_digest_of(text): text for text in trusted.values()}
    return by_digest | {_bare(id_) or "": text for id_, text in trusted.items()}


def _bare(id_: str | None) -> str | None:
    return None if id_ is None else id_.removeprefix("sha256:")


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _not_found() -> GraphQLError:
    # Clients compare the message: it asks them to send the text as well.
    return _refusal("PersistedQueryNotFound", NOT_FOUND)


def _refusal(message: str, code: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})
