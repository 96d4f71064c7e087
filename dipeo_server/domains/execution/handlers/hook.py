"""Tell the outside that the run has come here: run a configured command."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.ports import CommandRequest, ProcessOptions
from dipeo_server.domains.execution.process_settings import (
    EnvironmentSettings,
    filled_environment,
)
from dipeo_server.errors import ProviderNotConfigured

TIMEOUT_SECONDS: Final = 60.0
_KINDS: Final = {"webhook": "http"}
_DIGITS_MAX: Final = 20
_INTEGERS: Final = range(-(2**63), 2**64)


class HookConfig(BaseModel):
    """`config:` of a hook; which of them count depends on its type."""

    model_config = ConfigDict(frozen=True, extra="allow")

    command: str | None = Field(None, description="The program: its name, or a path.")
    args: tuple[str | int | float, ...] = Field((), description="Its arguments, one each.")
    cwd: str | None = Field(None, description="Its working directory, below the base directory.")
    env: EnvironmentSettings = Field(
        default_factory=dict,
        description="Environment variables; secret://NAME in one stands for that secret.",
    )
    stdin: str | None = Field(
        None, description="What it reads; secret://NAME stands for that secret."
    )


class HookProps(NodeProps):
    """What is told, and how long that may take."""

    hook_type: Literal["shell", "http", "webhook", "python", "file"] = Field(
        "shell",
        validation_alias=AliasChoices("hook_type", "hookType"),
        description="shell runs a command; the others are not available on this server.",
    )
    config: HookConfig = Field(default_factory=lambda: HookConfig(), description="By its type.")
    command: str | None = Field(None, description="The same as `config.command`.")
    url: str | None = Field(None, description="The same as `config.url`.")
    timeout: float = Field(
        TIMEOUT_SECONDS, gt=0, le=300, description="Seconds; then its processes are killed."
    )
    tty: bool = Field(
        default=False, description="Run it on a terminal: stdout and stderr are one stream then."
    )
    ansi: Literal["strip", "keep"] = Field("strip", description="What becomes of printed colours.")
    subscribe_to: Mapping[str, Any] | None = Field(
        None, description="Wait for an event from outside; not available on this server."
    )

    @model_validator(mode="after")
    def _has_a_command(self) -> Self:
        is_shell = self.hook_type == "shell" and self.subscribe_to is None
        if is_shell and not (self.program and self.program.strip()):
            raise ValueError("a shell hook needs `command`")
        return self

    @property
    def program(self) -> str | None:
        """The command, wherever it is written."""
        return self.config.command or self.command


@node_handler("hook", props=HookProps, category="integration", after_crash=AfterCrash.ASK)
async def hook(node: DomainNode[HookProps], ctx: ExecutionContext) -> NodeOutput:
    """Run a command with its arguments, never through a shell; what it prints is logged.

    Inputs are DIPEO_INPUT_<NAME> in its environment, each as JSON. Its value is what it prints to
    stdout, as JSON if that is what it is. Hooks that call a URL, a Python function or write a file
    fail with PROVIDER_NOT_CONFIGURED.
    """
    props = node.props
    _check_available(node)
    secrets = ctx.secrets
    stdin = props.config.stdin
    request = CommandRequest(
        command=[(props.program or "").strip(), *map(str, props.config.args)],
        options=ProcessOptions(
            timeout=props.timeout,
            environment=await filled_environment(props.config.env, secrets),
            stdin=None if stdin is None else await secrets.fill(stdin),
            tty=props.tty,
            ansi=props.ansi,
        ),
        inputs=ctx.inputs,
        cwd=props.config.cwd,
    )
    printed = await ctx.services.code.run_command(request, ctx.log)
    return create_node_output({"default": _value(printed)})


def _check_available(node: DomainNode[HookProps]) -> None:
    """Raises ProviderNotConfigured for what this server cannot do."""
    props = node.props
    if props.subscribe_to is not None:
        message = f"{node.key!r} waits for an event from outside, which this server cannot receive."
        hint = "Use a `user_response` or a `barrier` node, which any client can answer."
        raise ProviderNotConfigured(message, hint=hint)
    kind = _KINDS.get(props.hook_type, props.hook_type)
    if kind != "shell":
        hints = {
            "http": "Use a shell hook that runs curl, or a code_job.",
            "python": "Use a code_job with `file_path` and `function_name`.",
            "file": "Use a db node with operation write.",
        }
        message = f"{node.key!r} is a hook of type {props.hook_type}, which this server has not."
        raise ProviderNotConfigured(message, hint=hints[kind])


def _value(printed: str) -> Any:
    """JSON where that is what was printed, else the text."""
    try:
        return json.loads(printed, parse_constant=_refused, parse_int=_integer, parse_float=_number)
    except (ValueError, RecursionError):
        return printed


def _refused(written: str) -> Any:
    raise ValueError(f"{written} is no JSON")


def _integer(digits: str) -> int:
    number = int(digits) if len(digits) <= _DIGITS_MAX else 0
    is_whole = len(digits) <= _DIGITS_MAX and number in _INTEGERS
    return number if is_whole else _refused(digits)


def _number(written: str) -> float:
    number = float(written)
    return number if math.isfinite(number) else _refused(written)
