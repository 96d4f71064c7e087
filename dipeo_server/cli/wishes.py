"""What `dipeo-server run` is asked for, read and checked before a server is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipeo_server.cli import documents
from dipeo_server.cli.assignments import Answers, variables
from dipeo_server.cli.breakpoints import breakpoint_of
from dipeo_server.cli.durations import iso_of
from dipeo_server.cli.outcome import Unusable
from dipeo_server.cli.policy import ApprovePolicy


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line said; the help of `dipeo-server run` explains it."""

    file: Path
    server: str | None
    variables: Sequence[str]
    answers: Sequence[str]
    approve: ApprovePolicy | None
    max_steps: int | None
    max_tokens: int | None
    max_time: str | None
    breakpoints: Sequence[str]
    is_paused: bool
    error_strategy: str | None
    store: str | None
    base_dir: Path
    as_json: bool
    is_quiet: bool
    shows_log: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """`input` is the API's RunDiagramInput."""

    input: Mapping[str, Any]
    answers: Answers


def read_wish(options: RunOptions) -> Wish:
    """The options as the server takes them. Raises Unusable."""
    if not options.base_dir.is_dir():
        raise Unusable(f"There is no folder {options.base_dir} (--base-dir).")
    if options.server is not None and options.store is not None:
        hint = "Leave out --store: the server of --server keeps its runs itself."
        raise Unusable("--server and --store exclude each other.", hint=hint)
    file = documents.read(options.file, options.base_dir)
    wish: dict[str, Any] = {
        "source": {
            "inline": {
                "name": file.name,
                "content": file.content,
                "format": file.format,
                "path": file.path,
            }
        },
        "variables": variables(options.variables),
        **_limits(options),
    }
    if options.error_strategy is not None:
        wish["errorStrategy"] = options.error_strategy
    if options.is_paused:
        wish["startPaused"] = True
    if options.breakpoints:
        wish["breakpoints"] = [breakpoint_of(text, "--break") for text in options.breakpoints]
    return Wish(wish, Answers.parse(options.answers))


def _limits(options: RunOptions) -> dict[str, Any]:
    limits = {
        "maxSteps": options.max_steps,
        "maxTokens": options.max_tokens,
        "maxTime": iso_of(options.max_time, "--max-time") if options.max_time else None,
    }
    return {name: limit for name, limit in limits.items() if limit is not None}


def unknown_nodes(answers: Answers, nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each `--answer` whose node the diagram does not have."""
    known = {name for node in nodes for name in (node["key"], node["label"])}
    unknown = [name for name in answers.nodes if name not in known]
    if not unknown:
        return []
    from dipeo_server.domains.diagram.nearest import did_you_mean

    return [
        f"--answer is for a node {name!r}, which this diagram does not have. "
        f"{did_you_mean(name, known) or ''}".rstrip()
        for name in unknown
    ]
