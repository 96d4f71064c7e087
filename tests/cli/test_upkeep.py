"""`verify`, `prune` and `backup`: stores of real runs, beside servers and without them."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.diagrams import APPROVAL, HELLO, written
from tests.cli.processes import dipeo, served


@pytest.fixture
def store(base_dir: Path) -> Path:
    """A store with a run that has ended."""
    store = base_dir / "runs.db"
    file = written(base_dir, HELLO)
    assert dipeo("run", file, "-q", "--base-dir", base_dir, "--store", store).code == 0
    return store


def ask(store: Path, *statements: str) -> list[Any]:
    """Do something to the file behind the server's back, triggers aside."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def damage(store: Path) -> None:
    trigger = "SELECT sql FROM sqlite_master WHERE name = 'events_are_never_changed'"
    ((sql,),) = ask(store, trigger)
    change = "UPDATE events SET payload = x'00' WHERE seq = 3"
    ask(store, "DROP TRIGGER events_are_never_changed", change, sql)


# --- verify -------------------------------------------------------------------------------------


def test_a_sound_store_is_exit_code_0(store: Path, base_dir: Path) -> None:
    done = dipeo("verify", "--store", store)
    assert (done.code, done.out) == (0, "")
    assert "1 executions, " in done.err
    assert "no damage found" in done.err
    assert sorted(each.name for each in base_dir.glob("runs.db*")) == ["runs.db", "runs.db.lock"]


def test_damage_is_a_line_each_and_exit_code_1(store: Path) -> None:
    ((id_,),) = ask(store, "SELECT id FROM executions")
    damage(store)
    done = dipeo("verify", "--store", store)
    assert (done.code, done.out) == (1, f"Event 3 of {id_} is not what was written.\n")
    done = dipeo("verify", "--store", store, "--json")
    assert done.code == 1
    assert done.document["isSound"] is False
    assert done.document["damage"] == [
        {
            "executionId": id_,
            "sequence": "3",
            "message": f"Event 3 of {id_} is not what was written.",
        }
    ]


def test_the_store_of_a_running_server_is_verified(store: Path) -> None:
    with served("--store", store):
        done = dipeo("verify", "--store", f"sqlite:{store}", "--json")
    assert (done.code, done.document["isSound"]) == (0, True)


@pytest.mark.parametrize("command", [["verify"], ["prune", "--older-than", "1d"], ["backup", "x"]])
def test_where_there_is_no_store_the_usage_was_wrong(base_dir: Path, command: list[str]) -> None:
    done = dipeo(*command, "--base-dir", base_dir)
    assert (done.code, done.out) == (2, "")
    assert f"There is no store at {base_dir / '.dipeo' / 'dipeo.db'}." in done.err
    done = dipeo(*command, "--store", "memory:")
    assert done.code == 2
    assert "keeps no file" in done.err
    assert list(base_dir.iterdir()) == []


async def test_a_server_runs_what_is_whole_and_names_what_is_not(base_dir: Path) -> None:
    """A damaged run is kept and can be looked at up to the damage; all others go on."""
    store = base_dir / "runs.db"
    file = written(base_dir, APPROVAL)
    for _ in range(2):
        left = dipeo("run", file, "--json", "--base-dir", base_dir, "--store", store)
        assert left.code == 4
    broken, whole = (id_ for (id_,) in ask(store, "SELECT id FROM executions ORDER BY position"))
    ((sql,),) = ask(store, "SELECT sql FROM sqlite_master WHERE name = 'events_are_never_changed'")
    change = "UPDATE events SET payload = x'00' WHERE execution = 1 AND seq = 2"
    ask(store, "DROP TRIGGER events_are_never_changed", change, sql)
    with served("--store", store, "--base-dir", base_dir) as url:

        def send(query: str, id_: str) -> Any:
            body = {"query": query, "variables": {"id": id_}}
            return httpx.post(url, json=body, trust_env=False).json()

        refused = send(ABORT, broken)["data"]["abortExecution"]["errors"]
        assert [each["code"] for each in refused] == ["UNAVAILABLE"]
        assert f"The log of {broken} is damaged at event 2" in refused[0]["message"]
        assert send(ABORT, whole)["data"]["abortExecution"]["errors"] == []
        listed = send("{ executions { nodes { id } } }", "")["data"]["executions"]["nodes"]
        assert [each["id"] for each in listed] == [whole, broken]


# --- prune --------------------------------------------------------------------------------------


def test_what_ended_long_enough_ago_is_deleted(store: Path) -> None:
    kept = dipeo("prune", "--older-than", "1h", "--store", store, "--json")
    assert (kept.code, kept.document["executions"]) == (0, 0)
    dry = dipeo("prune", "--older-than", "0s", "--store", store, "--dry-run")
    assert "1 executions with " in dry.err
    assert "would be deleted" in dry.err
    assert ask(store, "SELECT count(*) FROM executions") == [(1,)]
    done = dipeo("prune", "--older-than", "0s", "--compact", "--store", store, "--json")
    assert done.document["executions"] == 1
    assert done.document["isDryRun"] is False
    assert ask(store, "SELECT count(*) FROM executions") == [(0,)]
    assert dipeo("verify", "--store", store).code == 0


def test_only_the_named_statuses_are_deleted(store: Path) -> None:
    done = dipeo("prune", "--older-than", "0s", "--status", "failed,ABORTED", "--store", store)
    assert "0 executions" in done.err
    done = dipeo("prune", "--older-than", "0s", "--status", "completed", "--store", store)
    assert "1 executions" in done.err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--older-than", "soon"], "--older-than cannot be 'soon'."),
        (["--older-than", "999999w"], "is before all time"),
        (["--older-than", "1d", "--status", "running"], "--status cannot be 'running'."),
        ([], "--older-than"),
    ],
)
def test_what_cannot_be_meant_is_refused(store: Path, options: list[str], message: str) -> None:
    done = dipeo("prune", *options, "--store", store)
    assert done.code == 2
    assert message in done.err


def test_a_store_that_is_served_is_not_pruned(store: Path) -> None:
    with served("--store", store):
        done = dipeo("prune", "--older-than", "0s", "--store", store)
    assert done.code == 75
    assert f"The store {store} is open in process " in done.err


# --- backup -------------------------------------------------------------------------------------

RUN = """mutation($content: String!) {
  runDiagram(input: {source: {inline: {name: "small", content: $content}}}) {
    execution { id }
    errors { message }
  }
}"""
SMALL = """\
version: light
nodes:
- {label: start, type: start}
- {label: end, type: endpoint}
connections:
- {from: start, to: end}
"""
ABORT = "mutation($id: ID!) { abortExecution(id: $id) { errors { code message } } }"


def test_a_server_under_load_is_backed_up(base_dir: Path) -> None:
    store = base_dir / "runs.db"
    accepted: list[str] = []
    is_over = threading.Event()
    with served("--store", store, "--base-dir", base_dir) as url:

        def load() -> None:
            with httpx.Client(trust_env=False) as client:
                while not is_over.is_set():
                    body = {"query": RUN, "variables": {"content": SMALL}}
                    answer = client.post(url, json=body).json()["data"]["runDiagram"]
                    accepted.append(answer["execution"]["id"])

        workers = [threading.Thread(target=load) for _ in range(2)]
        for worker in workers:
            worker.start()
        try:
            for number in range(2):
                known = set(accepted)
                copy = base_dir / f"copy-{number}.db"
                done = dipeo("backup", copy, "--store", store)
                assert done.code == 0, done.err
                assert "copied to" in done.err
                copied = {id_ for (id_,) in ask(copy, "SELECT id FROM executions")}
                assert known <= copied
                assert dipeo("verify", "--store", copy).code == 0
        finally:
            is_over.set()
            for worker in workers:
                worker.join()
    assert known
    with served("--store", copy, "--base-dir", base_dir) as url:
        body = {"query": "{ executions { totalCount } }"}
        answer = httpx.post(url, json=body, trust_env=False).json()
    assert answer["data"]["executions"]["totalCount"] == len(copied)


def test_a_backup_overwrites_nothing(store: Path, base_dir: Path) -> None:
    target = base_dir / "copy.db"
    target.write_text("theirs")
    done = dipeo("backup", target, "--store", store)
    assert done.code == 2
    assert "is there already" in done.err
    assert target.read_text() == "theirs"


def test_a_damaged_store_gives_no_backup(store: Path, base_dir: Path) -> None:
    damage(store)
    done = dipeo("backup", base_dir / "copy.db", "--store", store)
    assert done.code == 1
    assert done.out.startswith("Event 3 of exec_")
    assert "is not sound" in done.err
    assert not list(base_dir.glob("copy*"))
