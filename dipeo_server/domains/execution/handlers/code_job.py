"""Run a piece of code, given in the diagram or as a file."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, Self

from pydantic import AliasChoices, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.ports import CodeRequest, ProcessOptions
from dipeo_server.domains.execution.process_settings import (
    EnvironmentSettings,
    filled_environment,
)
from dipeo_server.errors import CodeError

_PYTHON_FILE: Final = re.compile(r"[\w./-]+\.py")
_BASH_FILE: Final = re.compile(r"[\w./-]+\.(?:sh|bash)")


class CodeJobProps(NodeProps):
    """The code, how it is called, and how long it may take."""

    language: Literal["python", "bash", "shell", "typescript"] = Field(
        "python", description="shell is bash; typescript needs a server that has tsx."
    )
    code: str | None = Field(
        None,
        description="Inputs are names in it. Its value: what it returns, `result`, or what its "
        "function gives; in bash what it prints. The path of a file works too.",
        json_schema_extra={"x-widget": "code"},
    )
    file_path: str | None = Field(
        None,
        validation_alias=AliasChoices("file_path", "filePath"),
        description="A file with the code, below the base directory.",
        json_schema_extra={"x-widget": "path"},
    )
    function_name: str = Field(
        "main",
        validation_alias=AliasChoices("function_name", "functionName"),
        description="The function that is called if the code defines it: its parameters are given "
        "by name, a single other one gets all inputs.",
    )
    timeout: float = Field(30.0, gt=0, description="Seconds; then its processes are killed.")
    env: EnvironmentSettings = Field(
        default_factory=dict,
        description="Environment variables; secret://NAME in one stands for that secret.",
    )
    tty: bool = Field(
        default=False, description="Run it on a terminal: stdout and stderr are one stream then."
    )
    ansi: Literal["strip", "keep"] = Field("strip", description="What becomes of printed colours.")
    effects: bool = Field(
        default=False, description="It changes things outside: do not just repeat it after a crash."
    )

    @override
    def crash_policy(self) -> AfterCrash | None:
        return AfterCrash.ASK if self.effects else None

    @field_validator("language", "function_name", "timeout", mode="before")
    @classmethod
    def _null_means_default(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name is not None:
            return cls.model_fields[info.field_name].default
        is_language = info.field_name == "language" and isinstance(value, str)
        return value.lower() if is_language else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        has_code = bool(self.code and self.code.strip())
        if has_code and self.file_path:
            raise ValueError("give `code` or `file_path`, not both")
        if not has_code and not self.file_path:
            raise ValueError("`code` or `file_path` is missing")
        return self

    @property
    def source(self) -> tuple[str | None, str | None]:
        """Code and path, one of them None: `code` may name a file."""
        if self.file_path:
            return None, self.file_path
        code = (self.code or "").strip()
        file_name = _PYTHON_FILE if self.language == "python" else _BASH_FILE
        return (None, code) if file_name.fullmatch(code) else (self.code, None)


@node_handler(
    "code_job",
    props=CodeJobProps,
    category="code",
    after_crash=AfterCrash.RERUN,
)
async def code_job(node: DomainNode[CodeJobProps], ctx: ExecutionContext) -> NodeOutput:
    """Run python or bash in a process of its own; what it prints is logged.

    Inputs are names in Python, where `inputs` holds all of them, and INPUT_<name> in bash. When it
    ends, or is ended, nothing that it has started is left.
    """
    props = node.props
    if props.language == "typescript":
        message = "TypeScript cannot be run: this server has no tsx."
        raise CodeError(message, hint="Write the code in python or bash.")
    code, file_path = props.source
    request = CodeRequest(
        language="python" if props.language == "python" else "bash",
        code=code,
        file_path=file_path,
        function_name=props.function_name,
        inputs=ctx.inputs,
        options=ProcessOptions(
            timeout=props.timeout,
            environment=await filled_environment(props.env, ctx.secrets),
            tty=props.tty,
            ansi=props.ansi,
        ),
        node_id=node.id,
        variables=await ctx.secrets.fill_variables(ctx.variables),
    )
    value = await ctx.services.code.run(request, ctx.log)
    return create_node_output({"default": value})
