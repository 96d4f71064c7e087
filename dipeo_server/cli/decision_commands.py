"""The commands that decide barriers at a server, their options and their help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from dipeo_server.cli import options
from dipeo_server.cli import remote_options as remote


class Action(StrEnum):
    """What can be decided at a barrier."""

    APPROVE = "approve"
    REJECT = "reject"
    SKIP = "skip"
    MODIFY = "modify"
    REROUTE = "reroute"


Barrier: TypeAlias = Annotated[
    str, typer.Argument(metavar="BARRIER", help="Its id; or the id of a run, and NODE.")
]
Node: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="NODE", help="The node, by its key or label.")
]
WaitingVisit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--occurrence", metavar="N", min=1, help="Only if it is this visit of NODE that waits."
    ),
]
Visit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--occurrence", metavar="N", min=1, help="Which visit of NODE.  [default: every visit]"
    ),
]
Answer: TypeAlias = Annotated[
    str | None,
    typer.Option("--answer", metavar="VALUE", help="The answer. JSON if it parses, else text."),
]
Comment: TypeAlias = Annotated[
    str | None, typer.Option("--comment", metavar="TEXT", help="Kept with the decision.")
]
Reason: TypeAlias = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the diagram can read it.")
]
Wanted: TypeAlias = Annotated[
    Action, typer.Option("--action", case_sensitive=False, help="What is decided.")
]
Puts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--var", metavar="NAME=VALUE", help="With modify: set an execution variable. Repeatable."
    ),
]
Reroute: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="EDGE", help="With reroute: an edge's key, or the node it leads to."
    ),
]
ExpiresIn: TypeAlias = Annotated[
    str | None,
    typer.Option("--expires-in", metavar="D", help="Ahead of time: good for so long: 30m, 2d."),
]
MaxUses: TypeAlias = Annotated[
    int | None,
    typer.Option("--max-uses", metavar="N", min=1, help="Ahead of time: for so many visits."),
]


def barriers(
    execution: remote.OptionalExecution = None,
    *,
    follow: remote.Follow = False,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """List what waits for a person: in one run, or in all.

    With --follow it goes on telling each barrier once, as it comes to wait; with --json too that
    is a JSON object a line.

    \b
    Examples:
      dipeo-server barriers
      dipeo-server barriers exec_0_abc --json | jq -r '.barriers[].id'
      dipeo-server barriers --follow --json | while read -r barrier; do …; done

    Exit codes: 0 listed, 1 no such run or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json)
    raise typer.Exit(decisions.list_barriers(server, execution, is_following=follow))


def approve(  # noqa: PLR0913 - one parameter for each option of the command
    barrier: Barrier,
    node: Node = None,
    *,
    occurrence: WaitingVisit = None,
    answer: Answer = None,
    comment: Comment = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Approve at a barrier that waits, or answer its question.

    Decides only what waits now; `decide` decides ahead of time. The first decision counts: where
    somebody else was faster, that decision is told.

    \b
    Examples:
      dipeo-server approve barrier_xyz
      dipeo-server approve exec_0_abc 'publish?' --comment 'checked twice'
      dipeo-server approve exec_0_abc topic --answer 'Spring sale'

    Exit codes: 0 approved, 1 refused (decided already, nothing waits there) or no server there,
    2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    target = decisions.Target(barrier, node, occurrence)
    raise typer.Exit(decisions.approve(server, target, answer=answer, comment=comment))


def reject(  # noqa: PLR0913 - one parameter for each option of the command
    barrier: Barrier,
    node: Node = None,
    *,
    reason: Reason,
    occurrence: WaitingVisit = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Reject at a barrier that waits.

    The run goes on at the barrier's `rejected` edges; without any it FAILS with BARRIER_REJECTED.

    \b
    Examples:
      dipeo-server reject barrier_xyz --reason 'too dear'
      dipeo-server reject exec_0_abc 'publish?' --reason 'wrong date'

    Exit codes: 0 rejected, 1 refused (decided already, nothing waits there) or no server there,
    2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    server = Remote(url, as_json=as_json, key=key)
    target = decisions.Target(barrier, node, occurrence)
    raise typer.Exit(decisions.reject(server, target, reason=reason))


def decide(  # noqa: PLR0913 - one parameter for each option of the command
    barrier: Barrier,
    node: Node = None,
    *,
    action: Wanted,
    occurrence: Visit = None,
    reason: remote.OptionalReason = None,
    answer: Answer = None,
    var: Puts = None,
    to: Reroute = None,
    expires_in: ExpiresIn = None,
    max_uses: MaxUses = None,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Any decision, on a barrier that waits or ahead of time.

    With a run and a NODE it is for the visit --occurrence, used once; without --occurrence for
    EVERY visit, now and later, unless --max-uses or --expires-in limit it. What waits already is
    decided at once. `decisions` lists what is still to come, `revoke` takes it back.

    \b
    Examples:
      dipeo-server decide exec_0_abc review --occurrence 2 --action approve --expires-in 2h
      dipeo-server decide exec_0_abc review --action reject --reason 'stop after this'
      dipeo-server decide exec_0_abc pay --action modify --var amount=80 --max-uses 3
      dipeo-server decide barrier_xyz --action reroute --to 'ask again'

    Exit codes: 0 decided, 1 refused (decided already) or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    verdict = decisions.Verdict(
        action=action.value.upper(),
        reason=reason,
        answer=answer,
        assignments=var or (),
        reroute=to,
        expires_in=expires_in,
        max_uses=max_uses,
    )
    server = Remote(url, as_json=as_json, key=key)
    target = decisions.Target(barrier, node, occurrence)
    raise typer.Exit(decisions.decide(server, target, verdict))


def list_decisions(
    execution: remote.Execution,
    *,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """List decisions made ahead of time that may still be used.

    \b
    Example:
      dipeo-server decisions exec_0_abc

    Exit codes: 0 listed, 1 no such run or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    raise typer.Exit(decisions.list_decisions(Remote(url, as_json=as_json), execution))


def revoke(
    decision: Annotated[
        str, typer.Argument(metavar="ID", help="The decision: its id, as `decisions` lists it.")
    ],
    *,
    key: remote.Key = None,
    url: remote.Url = remote.DEFAULT_URL,
    as_json: options.Json = False,
) -> None:
    """Take a decision back that was made ahead of time.

    \b
    Example:
      dipeo-server revoke decision_xyz

    Exit codes: 0 revoked, 1 refused (used, expired) or no server there, 2 wrong usage.
    """
    from dipeo_server.cli import decisions
    from dipeo_server.cli.remote import Remote

    raise typer.Exit(decisions.revoke(Remote(url, as_json=as_json, key=key), decision))


def add_to(app: typer.Typer) -> None:
    """Make them commands of the program."""
    for command in (barriers, approve, reject, decide):
        app.command()(command)
    app.command("decisions")(list_decisions)
    app.command()(revoke)
