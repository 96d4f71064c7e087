"""Hosts and origins: under which names the server is called, and from which pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import websockets
from pydantic import ValidationError

from dipeo_server.settings import Settings
from tests.api.guarded import Guarded, guarded

ME = {"query": "{ me { name } }"}
PAGE = "https://diagrams.example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    base_dir = tmp_path_factory.mktemp("base")
    hosts, origins = ["Diagrams.Example.org"], [PAGE]
    async with guarded(base_dir, allowed_hosts=hosts, allowed_origins=origins) as found:
        yield await found.somebody("viewer")


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1", 200),
        ("localhost:80", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("diagrams.example.org", 200),
        ("diagrams.example.org:443", 200),
        ("evil.example", 421),
        ("diagrams.example.org.evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io", 421),
        ("[", 421),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_names_that_are_allowed_are_answered(
    server: Guarded, host: str, status: int
) -> None:
    headers = {**server.headers, "host": host}
    answer = await server.live.http.post(server.live.url, json=ME, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    "origin, status",
    [
        (PAGE, 200),
        (f"{PAGE}:443", 200),
        ("HTTPS://DIAGRAMS.example.org", 200),
        ("https://diagrams.example.org:8443", 403),
        ("http://diagrams.example.org", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_pages_that_are_allowed_are_answered(
    server: Guarded, origin: str, status: int
) -> None:
    headers = {**server.headers, "origin": origin}
    answer = await server.live.http.post(server.live.url, json=ME, headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    if status == 200:
        async with server.live.raw_socket(origin=origin):
            pass
        return
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with server.live.raw_socket(origin=origin):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_of_the_server_itself_is_answered(server: Guarded) -> None:
    origin = server.live.url.removesuffix("/graphql")
    headers = {**server.headers, "origin": origin}
    answer = await server.live.http.post(server.live.url, json=ME, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "site, status", [("none", 200), ("same-origin", 200), ("same-site", 403), ("cross-site", 403)]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_other_pages_load_is_refused_also_without_their_origin(
    server: Guarded, site: str, status: int
) -> None:
    headers = {**server.headers, "sec-fetch-site": site}
    answer = await server.live.http.get(server.live.url, params=ME, headers=headers)
    assert answer.status_code == status


async def test_any_host_may_be_allowed(base_dir: Path) -> None:
    async with guarded(base_dir, allowed_hosts=["*"]) as found:
        somebody = await found.somebody("viewer")
        headers = {**somebody.headers, "host": "anything.example"}
        answer = await found.live.http.post(found.live.url, json=ME, headers=headers)
        assert answer.status_code == 200


def test_settings_are_read_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPEO_ALLOWED_HOSTS", "a.example, B.example ,")
    monkeypatch.setenv("DIPEO_ALLOWED_ORIGINS", "https://a.example,http://b.example:8080")
    settings = Settings()
    assert settings.allowed_hosts == {"a.example", "b.example"}
    assert settings.allowed_origins == {"https://a.example", "http://b.example:8080"}


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "a/b", "a b"])
def test_a_host_is_a_name(host: str) -> None:
    with pytest.raises(ValidationError, match="is not the name of a host"):
        Settings(allowed_hosts=frozenset({host}))


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "ftp://a.example", "*"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        Settings(allowed_origins=frozenset({origin}))
