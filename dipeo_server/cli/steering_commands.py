"""The commands that steer a run at a server, their options and their help."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote

Now: TypeAlias = Annotated[
    bool, typer.Option("--now", help="Cancel what runs, to run it again on resume.")
]
Grace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--grace",
        metavar="D",
        help="How long running nodes have before they are killed: 5s.  [default: 2s]",
    ),
]
StepNode: TypeAlias = Annotated[
    str | None,
    typer.Option("--node", metavar="NODE", help="Which of the ready nodes.  [default: the first]"),
]
MaxSteps: TypeAlias = Annotated[
    int | None,
    typer.Option("--max-steps", metavar="N", min=1, help="A new limit of node runs, in all."),
]
MaxTokens: TypeAlias = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="N", min=1, help="A new limit of tokens, in all."),
]
MaxTime: TypeAlias = Annotated[
    str | None,
    typer.Option("--max-time", metavar="D", help="A new limit of running time, in all: 90s, 5m."),
]
Policy: TypeAlias = Annotated[
    Literal["strict", "force", "migrate"] | None,
    typer.Option(
        "--revision-policy",
        help="Where the stored diagram has moved on: refuse, go on as it was, or go along.",
    ),
]
Value: TypeAlias = Annotated[
    str, typer.Argument(metavar="VALUE", help="The output. JSON if it parses, else text.")
]
Breakpoints: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="NODE[:after][=CONDITION]", help="All that shall be from now on."),
]
Clear: TypeAlias = Annotated[bool, typer.Option("--clear", help="Take all breakpoints away.")]


def pause(
    execution: remote.Execution,
    *,
    now: Now = False,
    reason: remote.OptionalReason = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Hold a run: nothing new starts, what runs ends.

    With --now what runs is cancelled, and runs again on resume; where a second run could do harm
    (a POST request, code with effects) a person is asked first. While a run is paused its barriers
    can be decided, its nodes retried, skipped or given an output.

    \b
    Examples:
      dipeo-server pause exec_0_abc
      dipeo-server pause exec_0_abc --now --reason 'wrong prices'

    Exit codes: 0 paused, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(steering.pause(server, execution, is_now=now, reason=reason))


def resume(  # noqa: PLR0913 - one parameter for each option of the command
    execution: remote.Execution,
    *,
    max_steps: MaxSteps = None,
    max_tokens: MaxTokens = None,
    max_time: MaxTime = None,
    var: options.Variables = None,
    policy: Policy = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Let a paused run go on, with new limits or variables.

    A run that a limit has paused needs a larger one: limits count from the start of the run.

    \b
    Examples:
      dipeo-server resume exec_0_abc
      dipeo-server resume exec_0_abc --max-tokens 200000 --max-time 2h
      dipeo-server resume exec_0_abc --var 'customers=["ann", "bob"]'

    Exit codes: 0 it goes on, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    code = steering.resume(
        server,
        execution,
        limits={"maxSteps": max_steps, "maxTokens": max_tokens},
        max_time=max_time,
        assignments=var or (),
        policy=policy.upper() if policy else None,
    )
    raise typer.Exit(code)


def abort(  # noqa: PLR0913 - one parameter for each option of the command
    execution: remote.Execution,
    *,
    reason: remote.OptionalReason = None,
    grace: Grace = None,
    no_wait: remote.NoWait = False,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """End a run for good.

    What runs is cancelled at once, and killed after the grace. It beats every decision: a barrier
    that waits is CANCELLED, never approved. Waits for the end; aborting what is ABORTED changes
    nothing.

    \b
    Examples:
      dipeo-server abort exec_0_abc --reason 'the order was withdrawn'
      dipeo-server abort exec_0_abc --grace 0s

    Exit codes: 0 it has ended (or will, with --no-wait), 1 refused or no server there, 2 wrong
    usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    code = steering.abort(server, execution, reason=reason, grace=grace, is_waiting=not no_wait)
    raise typer.Exit(code)


def step(
    execution: remote.Execution,
    *,
    node: StepNode = None,
    no_wait: remote.NoWait = False,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Run exactly one ready node of a paused run.

    Then the run is held again. Waits until that node has ended or waits for a person, and tells
    what happened.

    \b
    Examples:
      dipeo-server step exec_0_abc
      dipeo-server step exec_0_abc --node 'send mail'

    Exit codes: 0 done, 1 refused (not paused, nothing ready) or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(steering.step(server, execution, node=node, is_waiting=not no_wait))


def breakpoints(
    execution: remote.Execution,
    nodes: Breakpoints = None,
    *,
    clear: Clear = False,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Hold a run where it comes to certain nodes.

    Without nodes, list where it will be held. NODE holds it before the node starts, NODE:after when
    it has ended. A condition is an expression over the run's variables, and over `output` behind a
    node; one that cannot be evaluated holds the run too. What is given replaces what was there.

    \b
    Examples:
      dipeo-server breakpoints exec_0_abc pay draft:after
      dipeo-server breakpoints exec_0_abc 'pay=amount > 100' 'draft:after=len(output) > 500'
      dipeo-server breakpoints exec_0_abc --clear

    Exit codes: 0 done, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    code = steering.set_breakpoints(server, execution, nodes or (), is_clearing=clear)
    raise typer.Exit(code)


def skip(
    execution: remote.Execution,
    node: remote.NodeName,
    *,
    reason: remote.OptionalReason = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Do not run a node this time.

    What depends on it is skipped too. For a node that is ready while the run is paused, runs, waits
    for its retry or a delay, or has failed.

    \b
    Example:
      dipeo-server skip exec_0_abc 'send mail' --reason 'the customer has left'

    Exit codes: 0 skipped, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(steering.skip(server, execution, node, reason=reason))


def retry(
    execution: remote.Execution,
    node: remote.NodeName,
    *,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Run a failed node again.

    Or one that waits for its retry, at once. A run that ends by a failure cannot be mended any
    more: pause it before, or start it with --error-strategy collect, to have the time.

    \b
    Example:
      dipeo-server retry exec_0_abc 'fetch prices'

    Exit codes: 0 it runs again (when the run goes on), 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(steering.retry(server, execution, node))


def set_output(
    execution: remote.Execution,
    node: remote.NodeName,
    value: Value,
    *,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Take a value as a node's output, instead of running it.

    What depends on it goes on. For a node that is ready while the run is paused, runs, waits for
    its retry or a delay, or has failed.

    \b
    Examples:
      dipeo-server set-output exec_0_abc 'fetch prices' '{"apple": 1.5}'
      dipeo-server set-output exec_0_abc draft 'Dear customers: …'

    Exit codes: 0 done, 1 refused or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import steering
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    raise typer.Exit(steering.set_output(server, execution, node, value))


def add_to(app: typer.Typer) -> None:
    """Make them commands of the program."""
    for command in (pause, resume, abort, step, breakpoints, skip, retry):
        app.command()(command)
    app.command("set-output")(set_output)
