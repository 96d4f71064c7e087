"""Where secrets come from, who may have them, and how a missing one is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.secret_references import SecretText
from dipeo_server.errors import InvalidInput, SecretMissing
from dipeo_server.runtime.secrets import (
    RunSecrets,
    SecretGrants,
    SecretKeeper,
    read_secrets_file,
    secrets_from,
)
from dipeo_server.storage.memory import MemoryStore
from tests.runtime.world import world

PASSWORD = "open-sesame"


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_secrets_come_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    file = private(tmp_path / "secrets", "sudo-password: from the file\nother: of the file\n")
    environ = {"DIPEO_SECRET_SUDO_PASSWORD": PASSWORD, "DIPEO_SECRET_EMPTY": " ", "PATH": "/bin"}
    keeper = secrets_from(environ, file)
    assert keeper.value("sudo_password") == keeper.value("sudo-password") == PASSWORD
    assert keeper.value("other") == "of the file"
    assert (
        keeper.redactor.text("the secret is from the file")
        == "the secret is [secret sudo-password]"
    )
    with pytest.raises(SecretMissing):
        keeper.value("empty")


def test_a_missing_secret_is_named_with_the_ways_to_set_it() -> None:
    with pytest.raises(SecretMissing, match=r"no secret 'my-key' \(secret://my-key\)") as caught:
        SecretKeeper().value("my-key")
    assert "DIPEO_SECRET_MY_KEY" in (caught.value.hint or "")
    assert "DIPEO_SECRETS_FILE" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o700, 0o666])
def test_a_file_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    file = private(tmp_path / "secrets", "a: b", mode)
    with pytest.raises(InvalidInput, match=f"has the mode {mode:04o}") as caught:
        read_secrets_file(file)
    assert caught.value.hint == f"Run: chmod 600 {file}"


@pytest.mark.parametrize(
    "text, what",
    [
        ("- PASSWORD-1", "is no map of names"),
        ("PASSWORD-1", "is no map of names"),
        ("a: 12345678", "has no text for 'a'"),
        ("a: ''", "has no text for 'a'"),
        ("a: [PASSWORD-1", "is no YAML"),
        ("a: *PASSWORD-1", "is no YAML"),
        ("a: \x00PASSWORD-1", "is no YAML"),
    ],
)
def test_a_file_of_another_form_is_refused_without_showing_it(
    text: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        read_secrets_file(private(tmp_path / "secrets", text))
    assert "PASSWORD" not in f"{caught.value.message}{caught.value.hint}"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        secrets_from({}, tmp_path / "missing")
    with pytest.raises(InvalidInput, match=r"cannot be read|is no file"):
        read_secrets_file(tmp_path)


def test_a_secret_text_shows_itself_to_nobody_by_accident() -> None:
    text = SecretText(PASSWORD)
    assert PASSWORD not in f"{text} {text!r} {[text]}"
    assert text.reveal() == PASSWORD
    with pytest.raises(TypeError, match="never copied"):
        pickle.dumps(text)


async def test_references_in_texts_are_filled_in() -> None:
    keeper = SecretKeeper({"a": "one", "b.c": "two"})
    secrets = RunSecrets(keeper, SecretGrants(MemoryStore()), ExecutionID("exec_0_none"))
    filled = await secrets.fill("Basic secret://a:secret://b.c. And secret:// is none.")
    assert filled.reveal() == "Basic one:two. And secret:// is none."
    with pytest.raises(SecretMissing, match="'zz'"):
        await secrets.fill("secret://zz")


async def test_only_references_that_a_run_was_started_with_are_values_in_its_variables() -> None:
    """003-W7: references, not values; and what arrives later is data, whatever it says."""
    store = MemoryStore()
    keeper = SecretKeeper({"sudo": PASSWORD, "other": "nobody may have this"})
    grants = SecretGrants(store)
    async with world(store) as running:
        view = await running.run("s -> e", variables={"deep": [{"password": " secret://sudo "}]})
        child = await running.run(
            "s -> e", variables={"x": "secret://other", "y": "secret://sudo"}, parent_id=view.id
        )
    now = {"deep": [{"password": "secret://sudo"}], "said": "secret://other", "n": 1}
    assert await RunSecrets(keeper, grants, view.id).fill_variables(now) == {
        "deep": [{"password": PASSWORD}],
        "said": "secret://other",
        "n": 1,
    }
    of_child = await RunSecrets(keeper, grants, child.id).fill_variables(
        {"x": "secret://other", "y": "secret://sudo"}
    )
    assert of_child == {"x": "secret://other", "y": PASSWORD}
    plain = {"n": 1}
    assert await RunSecrets(keeper, grants, view.id).fill_variables(plain) is plain
