"""Every option of the command line, with its help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli.policy import ApprovePolicy


class Strategy(StrEnum):
    """What an unhandled failure does to the rest of the run."""

    FAIL_FAST = "FAIL_FAST"
    COLLECT = "COLLECT"
    COLLECT_PARTIAL = "COLLECT_PARTIAL"


class Drawing(StrEnum):
    """What a diagram is drawn as."""

    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"
    PNG = "png"


class DiagramFormat(StrEnum):
    """How a diagram is written."""

    LIGHT = "light"
    NATIVE = "native"
    READABLE = "readable"


class Auth(StrEnum):
    """Who may do what."""

    TOKEN = "token"  # noqa: S105 - the name of a way, no token
    NONE = "none"


class LogFormat(StrEnum):
    """How logs are written."""

    JSON = "json"
    CONSOLE = "console"


class Role(StrEnum):
    """What a token allows."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"


File: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The diagram.")]
Files: TypeAlias = Annotated[list[Path], typer.Argument(metavar="FILE", help="The diagrams.")]

# --- of several commands ------------------------------------------------------------------------

BaseDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--base-dir",
        metavar="DIR",
        help="Diagrams read and write files below this folder only.  [default: the current folder]",
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; everything else goes to stderr.")
]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to stdout."),
]

# --- serve --------------------------------------------------------------------------------------

Host: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The address to listen on; without authentication loopback only."
        "  [default: 127.0.0.1]",
    ),
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=0, max=65_535, help="0 = a free one.  [default: 8000]"),
]
ServedStore: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="sqlite:PATH, a path, or memory:  [default: .dipeo/dipeo.db below --base-dir]",
    ),
]
AuthOption: TypeAlias = Annotated[
    Auth | None,
    typer.Option(
        "--auth",
        help="token: who has one, as far as its role goes; none: anybody on this machine."
        "  [default: token]",
    ),
]
AllowedHosts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="A name that clients may call the server by, beside those of loopback; repeatable.",
    ),
]
AllowedOrigins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-origin",
        metavar="ORIGIN",
        help="Pages of this origin may talk to it, beside its own; repeatable.",
    ),
]
LogFormatOption: TypeAlias = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        help="json: an object a line; console: for people.  [default: console on a terminal]",
    ),
]
SelfApproval: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--self-approval/--no-self-approval",
        help="Whether who started a run may decide its barriers.  [default: they may]",
    ),
]

# --- run ----------------------------------------------------------------------------------------

Variables: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        metavar="NAME=VALUE",
        help="Set an execution variable. VALUE is JSON if it parses, else text. Repeatable.",
    ),
]
AnswersOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="NODE=VALUE",
        help="Answer a user_response node, or decide a barrier (approve, reject). Repeatable: "
        "several for one node answer its visits in order, the last one repeats.",
    ),
]
Approve: TypeAlias = Annotated[
    ApprovePolicy | None,
    typer.Option(
        help="At a barrier: ask you, approve it, or leave it waiting. auto never answers a "
        "user_response.  [default: ask on a terminal, else leave]"
    ),
]
MaxSteps: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Pause after so many node runs.")
]
MaxTokens: TypeAlias = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", min=1, help="Pause once models used so many tokens."),
]
MaxTime: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="D",
        help="Pause after so much time RUNNING, waiting not counted: 90s, 5m, 1h30m.",
    ),
]
Pause: TypeAlias = Annotated[
    bool, typer.Option("--pause", help="Start paused: nothing runs before `step` or `resume`.")
]
Breaks: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--break",
        metavar="NODE",
        help="Pause before NODE; NODE:after behind it, NODE=CONDITION where it holds. Repeatable.",
    ),
]
Log: TypeAlias = Annotated[
    bool, typer.Option("--log", help="Show what nodes print as they print it, on stderr.")
]
ErrorStrategy: TypeAlias = Annotated[
    Strategy | None,
    typer.Option(
        case_sensitive=False,
        help="What a failure that nothing handles does to the rest.  [default: FAIL_FAST]",
    ),
]
Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        "--url",
        metavar="URL",
        help="Use a running server instead of one for this run.",
    ),
]
RunStore: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="Where the run is kept.  [default: a temporary file, deleted when the run ends]",
    ),
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no summary; errors only.")
]

# --- render -------------------------------------------------------------------------------------

To: TypeAlias = Annotated[
    Drawing | None,
    typer.Option(
        "--to",
        case_sensitive=False,
        help="svg and png need Graphviz.  [default: by the end of --output, else dot]",
    ),
]

OptionalFile: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The diagram, unless --run names a run.")
]
DrawnRun: TypeAlias = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Draw this run of a server instead.")
]
DrawnAt: TypeAlias = Annotated[
    int | None,
    typer.Option("--at", metavar="SEQUENCE", min=1, help="The run as it stood behind this event."),
]
DrawnGraph: TypeAlias = Annotated[
    bool, typer.Option("--graph", help="The states of the run and its forks, not its diagram.")
]
DrawnSubDiagrams: TypeAlias = Annotated[
    bool, typer.Option("--sub-diagrams", help="As --graph, with the runs of sub-diagrams.")
]

# --- convert ------------------------------------------------------------------------------------

ToFormat: TypeAlias = Annotated[
    DiagramFormat | None,
    typer.Option(
        "--to", case_sensitive=False, help="The format to write.  [default: by the end of --output]"
    ),
]
FromFormat: TypeAlias = Annotated[
    DiagramFormat | None,
    typer.Option(
        "--from",
        case_sensitive=False,
        help="The format of FILE.  [default: by its end, else by what it says]",
    ),
]
Overwrite: TypeAlias = Annotated[
    bool,
    typer.Option("--overwrite", help="Write over FILE itself; its comments are lost."),
]
