"""A hook runs a command, never through a shell, and gives what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from dipeo_server.domains.diagram import AfterCrash, DomainNode, ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution import ExecutionContext, NodeOutput, NodeRun
from dipeo_server.domains.execution.context import Services, Visit
from dipeo_server.domains.execution.handlers.hook import HookProps, hook
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.registry import declared
from dipeo_server.errors import (
    CodeError,
    NodeError,
    NodeTimeout,
    PathDenied,
    ProviderNotConfigured,
    SecretMissing,
)
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.secrets import RunSecrets, SecretGrants, SecretKeeper
from dipeo_server.storage.memory import MemoryStore

ID = ExecutionID("exec_0_a")


class Hook:
    """One hook, and what it logs."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.logged: list[tuple[str, str]] = []

    def log(self, stream: str, text: str, *, level: str = "INFO") -> None:
        assert level == "INFO"
        self.logged.append((stream, text))

    async def run(self, config: dict[str, Any], /, **inputs: Any) -> Any:
        return await self.run_with({"hook_type": "shell", "config": config}, **inputs)

    async def run_with(self, props: dict[str, Any], /, **inputs: Any) -> Any:
        checked = HookProps.model_validate(props)
        node = ExecutableNode(0, "Hook", "node_3", "hook", "Hook", {})
        unused = cast("Any", None)
        files = BaseDirFiles(self.base_dir)
        keeper = SecretKeeper({"token": "open-sesame"})
        services = Services(
            clock=unused,
            files=files,
            code=ProcessCodeRunner(self.base_dir, files),
            models=unused,
            sub_diagrams=unused,
            secrets=RunSecrets(keeper, SecretGrants(MemoryStore()), ID),
        )
        visit = Visit(
            node_run=NodeRun("Hook", 1),
            node=node,
            inputs=inputs,
            input_envelopes={},
            services=services,
            state_store=unused,
            log=self.log,
        )
        context = ExecutionContext(ExecutableDiagram((node,), (), (), "hash"), ID, visit=visit)
        output = await hook(DomainNode("Hook", "node_3", "hook", "Hook", checked), context)
        assert isinstance(output, NodeOutput)
        return output.value["default"]


@pytest.fixture
def node(base_dir: Path) -> Hook:
    return Hook(base_dir)


async def test_arguments_are_given_as_they_are(node: Hook) -> None:
    odd = ["two words", "$HOME", "`id`", "; rm -rf .", "*", "", 3, 1.5]
    value = await node.run({"command": "printf", "args": ["%s|", *odd]})
    assert value == "two words|$HOME|`id`|; rm -rf .|*||3|1.5|"
    assert node.logged == [("stdout", value)]


@pytest.mark.parametrize(
    "printed, value",
    [
        ('{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        (" 7 \n", 7),
        ("true", True),
        ("plain text", "plain text"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("-0", 0),
        ("9" * 30, "9" * 30),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
)
async def test_what_is_printed_is_the_value_as_json_if_it_is(
    printed: str, value: Any, node: Hook
) -> None:
    (node.base_dir / "printed").write_text(printed)
    assert await node.run({"command": "cat", "args": ["printed"]}) == value


async def test_inputs_are_json_in_the_environment(node: Hook) -> None:
    script = "import json, os; print(json.dumps({k: os.environ[k] for k in os.environ}))"
    found = await node.run(
        {"command": "python3", "args": ["-c", script], "env": {"LEVEL": 3, "ON": True}},
        **{"raw data": {"a": 1}, "default": "text"},
    )
    assert json.loads(found["DIPEO_INPUT_RAW_DATA"]) == {"a": 1}
    assert found["DIPEO_INPUT_DEFAULT"] == '"text"'
    assert (found["LEVEL"], found["ON"]) == ("3", "true")
    assert not any(name.startswith("DIPEO_SECRET") for name in found)


async def test_references_in_the_environment_and_stdin_are_filled_in(node: Hook) -> None:
    """003-W7: by reference."""
    config = {
        "command": "bash",
        "args": ["-c", 'read line; echo "${#AUTH} ${#line}"'],
        "env": {"AUTH": "Bearer secret://token"},
        "stdin": "secret://token",
    }
    assert await node.run(config) == "18 11"
    with pytest.raises(SecretMissing, match="'nobody'"):
        await node.run({"command": "true", "env": {"AUTH": "secret://nobody"}})


async def test_the_working_directory_lies_below_the_base_directory(node: Hook) -> None:
    (node.base_dir / "deep").mkdir()
    (node.base_dir / "link").symlink_to("/")
    assert await node.run({"command": "pwd", "cwd": "deep"}) == str(node.base_dir / "deep")
    assert await node.run({"command": "pwd"}) == str(node.base_dir)
    for outside in ("..", "/", "deep/../..", "link"):
        with pytest.raises(PathDenied, match="leaves the base directory"):
            await node.run({"command": "pwd", "cwd": outside})
    with pytest.raises(PathDenied, match="is no folder"):
        await node.run({"command": "pwd", "cwd": "missing"})


async def test_failures_are_told_with_the_last_lines(node: Hook) -> None:
    with pytest.raises(CodeError, match="The command ended with exit code 4: oh no") as caught:
        await node.run({"command": "bash", "args": ["-c", "echo oh no >&2; exit 4"]})
    assert caught.value.retryable
    with pytest.raises(CodeError, match="nowhere cannot be started: No such file") as caught:
        await node.run({"command": "nowhere"})
    assert not caught.value.retryable
    with pytest.raises(NodeTimeout, match=r"did not end within 0\.3 s"):
        await node.run_with({"command": "yes", "timeout": 0.3})


@pytest.mark.parametrize("kind", ["http", "webhook", "python", "file"])
async def test_other_types_are_refused_with_a_way_out(kind: str, node: Hook) -> None:
    with pytest.raises(ProviderNotConfigured, match=f"of type {kind}") as caught:
        await node.run_with({"hook_type": kind, "config": {"url": "http://127.0.0.1/"}})
    assert caught.value.hint


async def test_events_from_outside_are_not_awaited(node: Hook) -> None:
    with pytest.raises(NodeError, match="cannot receive") as caught:
        await node.run_with({"subscribe_to": {"provider": "x"}})
    assert caught.value.code == "PROVIDER_NOT_CONFIGURED"


@pytest.mark.parametrize(
    "props, message",
    [
        ({}, "needs `command`"),
        ({"config": {"command": " "}}, "needs `command`"),
        ({"command": "true", "timeout": 301}, "less than or equal to 300"),
        ({"command": "true", "config": {"env": {"A=B": "x"}}}, "is no name of an environment"),
        ({"hook_type": "carrier pigeon"}, "hook_type"),
    ],
)
def test_props_that_cannot_be_are_refused(props: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HookProps.model_validate(props)


def test_a_hook_is_not_just_repeated_after_a_crash() -> None:
    assert declared()["hook"].spec.after_crash is AfterCrash.ASK
