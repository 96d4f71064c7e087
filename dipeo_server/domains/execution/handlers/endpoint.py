"""Where a way through the diagram ends: its result, saved to a file on request."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from dipeo_server.domains.diagram import AfterCrash, DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.documents import Format, dump, format_of
from dipeo_server.domains.execution.handlers import (
    NodeOutput,
    NodeProps,
    Ports,
    create_node_output,
    node_handler,
)
from dipeo_server.domains.execution.inputs import passed_on
from dipeo_server.domains.execution.prompts import rendered_path

FileFormat = Literal["txt", "json", "yaml", "md", "csv"]

_FORMATS: Final[dict[FileFormat, Format]] = {
    "txt": "text",
    "md": "text",
    "json": "json",
    "yaml": "yaml",
    "csv": "csv",
}
_OTHER_NAMES: Final = {"": None, "text": "txt", "markdown": "md", "yml": "yaml"}


def _known_name(written: Any) -> Any:
    name = written.strip().lower() if isinstance(written, str) else written
    return _OTHER_NAMES.get(name, name) if isinstance(name, str) else name


class EndpointProps(NodeProps):
    """Whether and where the result is saved."""

    save_to_file: bool = Field(default=False, description="Save the result to a file.")
    file_name: str | None = Field(
        None,
        validation_alias=AliasChoices("file_name", "file_path", "filePath"),
        description="Path below the base directory; a template with {x}. Default: output_<key>.",
    )
    file_format: Annotated[FileFormat | None, BeforeValidator(_known_name)] = Field(
        None, description="How it is written; default: what the suffix of the file name says."
    )


@node_handler(
    "endpoint",
    props=EndpointProps,
    ports=Ports(outputs=()),
    category="control",
    after_crash=AfterCrash.RERUN,
)
async def endpoint(node: DomainNode[EndpointProps], ctx: ExecutionContext) -> NodeOutput:
    """The result of its way through the diagram: the input, several as a map by name.

    With `save_to_file` it is written to a file: json and yaml as such, txt and md as text (of a
    conversation the last message, of a map its `default`, else indented JSON).
    """
    result = passed_on(ctx.inputs)
    if not node.props.save_to_file:
        return create_node_output({"default": result})
    saved_to = await _save(result, node, ctx)
    return create_node_output({"default": result}, {"saved_to": saved_to})


async def _save(result: Any, node: DomainNode[EndpointProps], ctx: ExecutionContext) -> str:
    wanted = node.props.file_format
    path = rendered_path(node.props.file_name or _default_name(node.key, wanted), ctx)
    format_ = format_of(path) if wanted is None else _FORMATS[wanted]
    return await ctx.files.write_text(path, dump(result, format_))


def _default_name(key: str, wanted: FileFormat | None) -> str:
    slug = re.sub(r"\W+", "_", key.lower()).strip("_")
    return f"output_{slug or 'node'}.{wanted or 'json'}"
