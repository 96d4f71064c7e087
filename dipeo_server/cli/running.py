"""`dipeo-server run`: one diagram, followed to its end over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from dipeo_server.cli import report
from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.credentials import shown_token
from dipeo_server.cli.deciding import Decider
from dipeo_server.cli.directions import Place, directions
from dipeo_server.cli.following import Follower
from dipeo_server.cli.homes import Home, home_for
from dipeo_server.cli.interrupts import Interrupts
from dipeo_server.cli.log_tail import tailed
from dipeo_server.cli.operations import PROBLEMS, RESULT, RUN
from dipeo_server.cli.outcome import ExitCode, Unusable, exit_code_of, tell, tell_error
from dipeo_server.cli.policy import ApprovePolicy
from dipeo_server.cli.problems import line_of
from dipeo_server.cli.progress import LineProgress, NoProgress, Progress
from dipeo_server.cli.standing import Standing
from dipeo_server.cli.terminal import Asker, somebody_is_there
from dipeo_server.cli.wishes import RunOptions, Wish, read_wish, unknown_nodes
from dipeo_server.errors import DipeoError, Unavailable


class DiagramRefused(Unusable):
    """The diagram cannot run; `problems` are those of the API."""

    code = "DIAGRAM_INVALID"

    def __init__(self, message: str, problems: list[Any]) -> None:
        super().__init__(message)
        self.problems = problems


class RunRefused(Unusable):
    """The server refused an argument of the run; `code` is the one it gave."""

    def __init__(self, message: str, code: str, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ServerBusy(Unavailable):
    """The server cannot take the run now."""


class Cancelled(DipeoError):
    """Ctrl-C came before there was a run to abort."""

    code = "CANCELLED"


def run(options: RunOptions) -> ExitCode:
    """Run the diagram, tell how it ended, and give the exit code."""
    try:
        wish = read_wish(options)
        document, code = asyncio.run(_Run(options, wish).outcome())
    except (asyncio.CancelledError, KeyboardInterrupt):
        document = report.of_error(Cancelled("Interrupted before the run had begun."))
        code = ExitCode.ABORTED
    except DipeoError as error:
        problems = error.problems if isinstance(error, DiagramRefused) else []
        document, code = report.of_error(error, problems), exit_code_of(error)
        for problem in problems:
            tell(line_of(problem, options.file))
        if not problems:
            tell_error(error)
    if options.as_json:
        report.write_json(document)
    return code


class _Run:
    """One run, from the server it needs to what is told about it."""

    def __init__(self, options: RunOptions, wish: Wish) -> None:
        self._options = options
        self._wish = wish
        self._progress = progress_for(options)
        self._interrupts = Interrupts(leave=self._progress.end)

    async def outcome(self) -> tuple[report.Document, ExitCode]:
        """The JSON object and the exit code. Raises DipeoError where there was no run."""
        with self._interrupts.handled():
            token = None if self._options.server is None else shown_token()
            async with home_for(self._options) as home, GraphQLClient(home.url, token) as client:
                execution = await self._start(client)
                home.has_active_run = True
                try:
                    return await self._ended(client, home, execution)
                except DipeoError as error:
                    tell_error(error)
                    lost = report.of_error(error, execution_id=execution["id"])
                    return lost, exit_code_of(error)

    async def _start(self, client: GraphQLClient) -> Mapping[str, Any]:
        """The accepted run. Raises DiagramRefused, RunRefused, Unavailable."""
        variables = {"input": self._wish.input, "key": uuid.uuid4().hex}
        payload = (await client.execute(RUN, variables))["runDiagram"]
        for error in payload["errors"]:
            raise _refusal(error)
        execution: Mapping[str, Any] = payload["execution"]
        return execution

    async def _ended(
        self, client: GraphQLClient, home: Home, execution: Mapping[str, Any]
    ) -> tuple[report.Document, ExitCode]:
        revision = execution["revision"]
        problems = await self._warnings(client) if revision["problems"] else []
        for problem in problems:
            tell(line_of(problem, self._options.file))
        for sentence in unknown_nodes(self._wish.answers, revision["nodes"]):
            tell(sentence)
        standing = await self._follow(client, execution["id"], revision["nodes"])
        result = (await client.execute(RESULT, {"id": execution["id"]}))["execution"]
        code = report.exit_code(result)
        home.has_active_run = code is ExitCode.LEFT_WAITING
        self._tell_end(result)
        if standing is not None and home.has_active_run:
            self._tell_directions(standing, home)
        return report.of_run(result, problems), code

    async def _warnings(self, client: GraphQLClient) -> list[Any]:
        """With their places in the file, which the compiled diagram does not know any more."""
        inline = self._wish.input["source"]["inline"]
        variables = {"content": inline["content"], "format": inline["format"]}
        problems: list[Any] = (await client.execute(PROBLEMS, variables))["validateDiagram"][
            "problems"
        ]
        return problems

    async def _follow(
        self, client: GraphQLClient, execution_id: str, nodes: list[Any]
    ) -> Standing | None:
        decider = Decider(client, self._wish.answers, self._policy(), Asker(self._progress))
        follower = Follower(client, execution_id, self._progress, decider)
        self._interrupts.first = lambda: follower.abort("interrupted (Ctrl-C)")
        self._progress.begin(execution_id, nodes)
        tail = tailed(client, execution_id) if self._options.shows_log else nullcontext()
        try:
            async with tail:
                return await follower.follow(nodes)
        finally:
            self._progress.end()

    def _policy(self) -> ApprovePolicy:
        if self._options.approve is ApprovePolicy.AUTO:
            return ApprovePolicy.AUTO
        wants = self._options.approve is not ApprovePolicy.LEAVE
        return ApprovePolicy.ASK if wants and somebody_is_there() else ApprovePolicy.LEAVE

    def _tell_end(self, result: Mapping[str, Any]) -> None:
        lines = report.in_lines(result)
        if not self._options.as_json and not self._options.is_quiet:
            report.write_lines(lines)
        elif result["error"]:
            tell("\n".join(report.error_lines(result)))

    def _tell_directions(self, standing: Standing, home: Home) -> None:
        place = Place(
            file=str(self._options.file),
            url=home.url if home.store is None else None,
            store=home.store,
            base_dir=str(self._options.base_dir),
        )
        for line in directions(standing, place):
            tell(line)


def progress_for(options: RunOptions) -> Progress:
    """A live table on a terminal, lines in a pipe, nothing with --quiet."""
    stream = sys.stderr if options.as_json else sys.stdout
    if options.is_quiet:
        return NoProgress()
    if not stream.isatty() or options.shows_log:
        return LineProgress(stream)  # Lines of nodes and a table would write over one another.
    from dipeo_server.cli.live import LiveProgress

    return LiveProgress(stream)


def _refusal(error: Mapping[str, Any]) -> DipeoError:
    message, hint = error["message"], error["hint"]
    if error["__typename"] == "DiagramInvalid":
        return DiagramRefused(message, error["problems"])
    if error["code"] in {"UNAVAILABLE", "STORAGE_FULL"}:
        return ServerBusy(message, hint=hint)
    return RunRefused(message, error["code"], hint)
