"""Tokens on the command line: made, shown once, used, revoked; and a server that asks for them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.cli.controlling import CLI
from tests.cli.processes import Running, started

ME = {"query": "{ me { name role isApprover } }"}


def first_token(server: Running) -> str:
    """The token that a server prints when there is none."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if "export DIPEO_TOKEN=" in line:
            return line.partition("=")[2].strip()
    raise AssertionError("no token was printed")


def test_tokens_are_made_listed_and_revoked_in_a_store(cli: CLI, tmp_path: Path) -> None:
    where = ("--store", tmp_path / "runs.db")
    made = cli("tokens", "create", "ann", "--role", "author", "--approver", *where)
    assert made.code == 0
    text = made.out.strip()
    assert text.startswith("dip_")
    assert "not shown again" in made.err
    other = cli("tokens", "create", "ci", "--expires-in", "90d", "--json", *where)
    assert other.document["token"]["role"] == "VIEWER"
    listed = cli("tokens", "list", *where)
    [ann, ci] = listed.out.splitlines()
    assert "author, approver" in ann
    assert "expires" in ci
    assert text.rpartition("_")[2] not in listed.out + listed.err
    revoked = cli("tokens", "revoke", text, *where)
    assert revoked.out.startswith("revoked ")
    tokens = cli("tokens", "list", "--json", *where).document["tokens"]
    assert [token["isValid"] for token in tokens] == [False, True]
    assert cli("verify", *where).code == 0


def test_wrong_wishes_for_tokens_are_refused(cli: CLI, tmp_path: Path) -> None:
    where = ("--store", tmp_path / "runs.db")
    assert cli("tokens", "create", "ann", "--role", "king", *where).code == 2
    assert cli("tokens", "create", " ", *where).code == 2
    assert cli("tokens", "create", "ann", "--expires-in", "soon", *where).code == 2
    assert cli("tokens", "revoke", "nobody", *where).code == 2
    assert cli("tokens", "list", "--server", "http://127.0.0.1:1", *where).code == 2
    memory = cli("tokens", "create", "ann", "--store", "memory:")
    assert memory.code == 2
    assert "keeps no file" in memory.err


def test_a_server_asks_for_tokens_and_prints_the_first_one_once(
    cli: CLI, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ("--store", base_dir / "runs.db", "--base-dir", base_dir)
    with started("serve", "--auth", "token", "--port", "0", *store) as server:
        token = first_token(server)
        url = server.line().removeprefix("ready ")
        assert httpx.post(url, json=ME, trust_env=False).status_code == 401
        asked = {"authorization": f"Bearer {token}"}
        answer = httpx.post(url, json=ME, headers=asked, trust_env=False).json()
        assert answer["data"]["me"] == {"name": "admin", "role": "ADMIN", "isApprover": True}
        refused = cli("executions", "--url", url)
        assert refused.code == 1
        assert "Hint:  Put a valid token into DIPEO_TOKEN" in refused.err
        monkeypatch.setenv("DIPEO_URL", url)
        monkeypatch.setenv("DIPEO_TOKEN", token)
        assert cli("executions").code == 0

        made = cli("tokens", "create", "ann", "--role", "operator", "--json")
        ann = made.document["text"]
        denied = cli("tokens", "list", "--token", ann)
        assert denied.code == 1
        assert "Query.tokens needs the role admin" in denied.err
        assert "ann" in cli("tokens", "list").out

        # Only the server changes its store.
        monkeypatch.delenv("DIPEO_URL")
        locked = cli("tokens", "create", "ann", "--store", base_dir / "runs.db")
        assert locked.code == 75
        assert "--server URL" in locked.err

        server.interrupt(signal.SIGTERM)
        done = server.ended()
    assert done.code == 0
    assert token not in done.err
    with started("serve", "--auth", "token", "--port", "0", *store) as server:
        assert server.line().startswith("ready ")
        server.interrupt(signal.SIGTERM)
        assert "DIPEO_TOKEN" not in server.ended().err


def test_a_run_at_a_server_is_done_by_whoever_shows_the_token(cli: CLI, base_dir: Path) -> None:
    diagram = base_dir / "hello.light.yaml"
    diagram.write_text(
        "version: light\nnodes:\n- {label: a, type: start}\n- {label: z, type: endpoint}\n"
        "connections:\n- {from: a, to: z}\n"
    )
    options = ("--auth", "token", "--port", "0", "--store", "memory:", "--base-dir", base_dir)
    with started("serve", *options) as server:
        token = first_token(server)
        url = server.line().removeprefix("ready ")
        done = cli("run", diagram, "--server", url, "--json", "--token", token)
        assert done.code == 0, done.err
        followed = cli("events", done.document["id"], "--json", "--url", url, "--token", token)
        first = json.loads(followed.out.splitlines()[0])
        assert first["actor"] == "admin"
        nobody = cli("run", diagram, "--server", url, "--json")
        assert (nobody.code, nobody.document["error"]["code"]) == (1, "UNAUTHENTICATED")
