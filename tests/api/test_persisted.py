"""Documents that are named instead of sent."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import GraphQLError
from starlette.applications import Starlette
from strawberry.types import ExecutionResult

from dipeo_server.api.context import ApiLimits, Connection
from dipeo_server.api.http import create_routes
from dipeo_server.api.persisted import PersistedDocuments, read_manifest
from dipeo_server.api.schema import build_schema
from dipeo_server.app import backend
from dipeo_server.errors import InvalidInput
from dipeo_server.settings import Settings
from tests.api.serving import Live
from tests.api.streaming import EVENT_STREAM

VERSION = "{ serverInfo { version } }"
RUNNER = "{ serverInfo { runner } }"


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def named(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest_of(text)}}


def code_of(documents: PersistedDocuments, *asked: Any) -> str:
    with pytest.raises(GraphQLError) as caught:
        documents.text(*asked)
    found: str = (caught.value.extensions or {})["code"]
    return found


def test_a_document_is_known_by_its_hash_once_it_was_sent_with_it() -> None:
    documents = PersistedDocuments()
    assert code_of(documents, None, named(VERSION)) == "PERSISTED_QUERY_NOT_FOUND"
    assert documents.text(VERSION, named(VERSION)) == VERSION
    assert documents.text(None, named(VERSION)) == VERSION
    assert documents.text(None, None, f"sha256:{digest_of(VERSION)}") == VERSION


def test_a_document_that_was_sent_without_a_hash_is_not_kept() -> None:
    documents = PersistedDocuments()
    assert documents.text(VERSION, {}) == VERSION
    assert code_of(documents, None, named(VERSION)) == "PERSISTED_QUERY_NOT_FOUND"


def test_a_hash_of_something_else_is_refused_and_keeps_nothing() -> None:
    documents = PersistedDocuments()
    assert code_of(documents, RUNNER, named(VERSION)) == "BAD_REQUEST"
    assert code_of(documents, None, named(VERSION)) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    "extension",
    [
        "x",
        {},
        {"version": 2, "sha256Hash": "x"},
        {"sha256Hash": digest_of(VERSION)},
        {"version": 1, "sha256Hash": 1},
    ],
)
def test_a_name_of_another_form_is_refused(extension: object) -> None:
    documents = PersistedDocuments()
    assert code_of(documents, VERSION, {"persistedQuery": extension}) == "BAD_REQUEST"


def test_the_documents_that_were_used_last_are_kept() -> None:
    documents = PersistedDocuments(limits=ApiLimits(persisted_documents=3))
    texts = ["{ a }", "{ b }", "{ c }"]
    for text in texts:
        documents.text(text, named(text))
    documents.text(None, named(texts[0]))
    documents.text(VERSION, named(VERSION))
    assert documents.text(None, named(texts[0])) == texts[0]
    assert code_of(documents, None, named(texts[1])) == "PERSISTED_QUERY_NOT_FOUND"
    assert documents.text(None, named(texts[2])) == texts[2]


def test_a_long_document_is_run_but_not_kept() -> None:
    documents = PersistedDocuments(limits=ApiLimits(persisted_characters=len(VERSION)))
    documents.text(VERSION, named(VERSION))
    assert documents.text(None, named(VERSION)) == VERSION
    text = VERSION + " "
    assert documents.text(text, named(text)) == text
    assert code_of(documents, None, named(text)) == "PERSISTED_QUERY_NOT_FOUND"


def test_of_trusted_documents_each_is_known_by_id_hash_and_text() -> None:
    documents = PersistedDocuments({"version": VERSION, f"sha256:{digest_of(RUNNER)}": RUNNER})
    assert documents.text(None, None, "version") == VERSION
    assert documents.text(None, named(VERSION)) == VERSION
    assert documents.text(VERSION, None) == VERSION
    assert documents.text(None, None, digest_of(RUNNER)) == RUNNER
    assert documents.text(None, None, f"sha256:{digest_of(RUNNER)}") == RUNNER
    assert documents.text(None, None) is None


def test_what_is_not_trusted_is_neither_run_nor_kept() -> None:
    documents = PersistedDocuments({"version": VERSION})
    assert code_of(documents, RUNNER, None) == "DOCUMENT_NOT_TRUSTED"
    assert code_of(documents, RUNNER, named(RUNNER)) == "DOCUMENT_NOT_TRUSTED"
    assert code_of(documents, None, named(RUNNER)) == "PERSISTED_QUERY_NOT_FOUND"
    assert code_of(documents, None, None, "runner") == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    "manifest",
    [
        {"version": VERSION},
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [{"id": "version", "name": "V", "type": "query", "body": VERSION}],
        },
    ],
)
def test_trusted_documents_are_read_from_both_forms(manifest: dict[str, Any]) -> None:
    assert read_manifest(json.dumps(manifest).encode(), "x.json") == {"version": VERSION}


@pytest.mark.parametrize(
    "text, what",
    [
        (b"nope", "x.json"),
        (b"[]", "must be an object"),
        (b'{"a": 1}', "must be a text"),
        (b'{"a": "{"}', "'a' is no GraphQL document: Syntax Error"),
        (b'{"format": "apollo-persisted-query-manifest"}', "`operations`"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": [{}]}', "must be a text"),
    ],
)
def test_what_is_wrong_with_trusted_documents_is_said(text: bytes, what: str) -> None:
    with pytest.raises(InvalidInput, match="The trusted documents of") as caught:
        read_manifest(text, "x.json")
    assert what in caught.value.message


async def test_a_file_of_trusted_documents_that_is_not_there_is_refused(base_dir: Path) -> None:
    settings = Settings(base_dir=base_dir, store="memory:", trusted_documents=base_dir / "none")
    with pytest.raises(InvalidInput, match="No such file"):
        async with backend(settings):
            raise AssertionError


# --- over HTTP --------------------------------------------------------------------------------


async def test_clients_that_persist_queries_send_each_only_once(live: Live) -> None:
    async def post(**body: object) -> httpx.Response:
        return await live.http.post(live.url, json=body)

    first = await post(extensions=named(VERSION))
    assert first.status_code == 200
    [error] = first.json()["errors"]
    assert error["message"] == "PersistedQueryNotFound"
    assert error["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
    assert "data" not in first.json()
    second = await post(query=VERSION, extensions=named(VERSION))
    third = await post(extensions=named(VERSION))
    assert second.json() == third.json()
    assert third.json()["data"]["serverInfo"]["version"]
    got = await live.http.get(live.url, params={"extensions": json.dumps(named(VERSION))})
    assert got.json() == third.json()
    by_id = await live.http.get(live.url, params={"documentId": f"sha256:{digest_of(VERSION)}"})
    assert by_id.json() == third.json()


async def test_the_new_media_type_calls_an_unknown_document_a_bad_request(live: Live) -> None:
    accept = {"accept": "application/graphql-response+json"}
    body = {"extensions": named(VERSION)}
    response = await live.http.post(live.url, json=body, headers=accept)
    assert response.status_code == 400
    streamed = await live.http.post(live.url, json=body, headers={"accept": EVENT_STREAM})
    assert '"PERSISTED_QUERY_NOT_FOUND"' in streamed.text


async def test_a_persisted_mutation_is_not_run_by_get(live: Live) -> None:
    text = 'mutation { abortExecution(id: "x") { errors { code } } }'
    sent = await live.http.post(live.url, json={"query": text, "extensions": named(text)})
    assert sent.json()["data"]
    got = await live.http.get(live.url, params={"extensions": json.dumps(named(text))})
    assert got.status_code == 405


async def test_a_server_with_trusted_documents_runs_no_others(live: Live) -> None:
    follow = "subscription ($id: ID!) { executionEvents(executionId: $id) { __typename } }"
    services = replace(live.services, trusted_documents={"version": VERSION, "follow": follow})
    transport = httpx.ASGITransport(Starlette(routes=create_routes(services)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

        async def post(accept: str = "application/json", **body: object) -> httpx.Response:
            return await client.post("/graphql", json=body, headers={"accept": accept})

        assert (await post(documentId="version")).json()["data"]
        assert (await post(query=VERSION)).json()["data"]
        other = await post(query=RUNNER)
        assert other.json()["errors"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"
        stream = await post(EVENT_STREAM, documentId="follow", variables={"id": "x"})
        assert '"NOT_FOUND"' in stream.text


async def test_trusted_documents_are_the_only_ones_of_a_stream_too(live: Live) -> None:
    schema = build_schema(live.services.specs, None, {"version": VERSION})

    async def codes(query: str | None, **extensions: Any) -> list[object]:
        connection = Connection(live.services)
        results = await schema.stream(
            query, context_value=connection, operation_extensions=extensions
        )
        [result] = [each async for each in results]
        assert isinstance(result, ExecutionResult)
        return [(error.extensions or {})["code"] for error in result.errors or []]

    assert await codes(VERSION) == []
    assert await codes(None, **named(VERSION)) == []
    assert await codes(RUNNER) == ["DOCUMENT_NOT_TRUSTED"]
    assert await codes(None, **named(RUNNER)) == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_a_socket_takes_a_name_with_an_empty_text(live: Live) -> None:
    payload = {"query": "", "extensions": named(VERSION)}
    async with live.socket() as client:
        await client.send({"id": "1", "type": "subscribe", "payload": payload})
        unknown = await client.receive()
        await client.send(
            {"id": "2", "type": "subscribe", "payload": {**payload, "query": VERSION}}
        )
        known = [await client.receive(), await client.receive()]
        await client.send({"id": "3", "type": "subscribe", "payload": payload})
        again = [await client.receive(), await client.receive()]
    assert unknown["type"] == "error"
    assert unknown["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
    assert [message["type"] for message in again] == ["next", "complete"]
    assert again[0]["payload"] == known[0]["payload"]
