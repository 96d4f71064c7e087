"""Looking back from the command line: earlier states, differences, and pictures of runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from dipeo_server.cli.client import GraphQLClient
from dipeo_server.cli.differences import Difference, differences, parting
from dipeo_server.cli.durations import seconds_of
from dipeo_server.cli.event_fields import STORED_WHOLE_EVENTS, renamed
from dipeo_server.cli.outcome import ExitCode
from dipeo_server.cli.pages import stored
from dipeo_server.cli.remote import Document, Remote, Told, carry_out, missing
from dipeo_server.cli.report import in_one_line
from dipeo_server.cli.telling import Event
from dipeo_server.cli.writing import write_output

_FIELDS: Final = """
fragment Whole on ExecutionState {
  id status startedAt endedAt duration lastSequence variables availableActions
  tokenUsage { input output cached total }
  error { code message hint nodeKey isRetryable }
  nodeStates {
    nodeKey status occurrence attempt startedAt endedAt skipReason
    error { code message hint nodeKey isRetryable }
    node { label type }
    output { contentType body sizeBytes isTruncated meta }
  }
  barriers { id nodeKey occurrence status }
}
"""
STATE: Final = f"""{_FIELDS}
query State($id: ID!) {{ execution(id: $id) {{ ...Whole }} }}
"""
STATE_AT: Final = f"""{_FIELDS}
query StateAt($id: ID!, $at: Sequence!) {{
  execution(id: $id) {{ stateAt(sequence: $at) {{ ...Whole }} }}
}}
"""
PICTURE: Final = """
query Picture($id: ID!, $format: RenderFormat!) {
  execution(id: $id) { render(format: $format) }
}
"""
PICTURE_AT: Final = """
query PictureAt($id: ID!, $format: RenderFormat!, $at: Sequence!) {
  execution(id: $id) { stateAt(sequence: $at) { render(format: $format) } }
}
"""
GRAPH: Final = """
query Graph($id: ID!, $format: RenderFormat!, $at: Sequence, $all: Boolean!) {
  execution(id: $id) {
    executionGraph(upTo: $at, subDiagrams: $all) { render(format: $format) }
  }
}
"""

_VALUE_CHARACTERS_MAX: Final = 200
_SIGNS: Final[Mapping[str, str]] = {
    "PENDING": "○",
    "RUNNING": "▶",
    "WAITING": "‖",
    "COMPLETED": "✓",
    "FAILED": "✗",
    "SKIPPED": "»",
    "ABORTED": "■",
    "MAXITER_REACHED": "↻",
}


def show_state(remote: Remote, execution_id: str, *, at: int | None) -> ExitCode:
    """Tell how a run stands, or stood behind an event."""

    async def work(client: GraphQLClient) -> Told:
        found = await _state(client, execution_id, at)
        document = {
            **found,
            "lastSequence": str(found["lastSequence"]),
            "duration": seconds_of(found["duration"]),
        }
        return Told(document, _state_lines(found))

    return carry_out(remote, work)


async def _state(client: GraphQLClient, execution_id: str, at: int | None) -> Document:
    if at is None:
        data = await client.execute(STATE, {"id": execution_id})
    else:
        data = await client.execute(STATE_AT, {"id": execution_id, "at": str(at)})
    execution: Document | None = data["execution"]
    if execution is None:
        raise missing(execution_id)
    found: Document = execution if at is None else execution["stateAt"]
    return found


def _state_lines(state: Document) -> list[str]:
    lines = [f"{state['status']}  {state['id']}  behind event {state['lastSequence']}"]
    lines += [_node_line(each) for each in state["nodeStates"]]
    if state["variables"]:
        lines += ["variables:", *_value_lines(state["variables"])]
    outputs = {
        each["nodeKey"]: _output_value(each["output"])
        for each in state["nodeStates"]
        if each["output"] is not None
    }
    if outputs:
        lines += ["outputs:", *_value_lines(outputs)]
    return lines


def _node_line(state: Mapping[str, Any]) -> str:
    visit = f" #{state['occurrence']}" if state["occurrence"] > 1 else ""
    why = state["skipReason"] or (state["error"] or {}).get("code")
    note = f"  ({why})" if why else ""
    status = state["status"]
    return f"  {_SIGNS.get(status, '?')} {status:<15} {state['nodeKey']}{visit}{note}"


def _output_value(output: Mapping[str, Any]) -> Any:
    return f"({output['sizeBytes']} bytes)" if output["isTruncated"] else output["body"]


def _value_lines(values: Mapping[str, Any]) -> list[str]:
    return [f"  {name} = {_short(value)}" for name, value in values.items()]


def _short(value: Any) -> str:
    text = in_one_line(value)
    is_long = len(text) > _VALUE_CHARACTERS_MAX
    return f"{text[: _VALUE_CHARACTERS_MAX - 1]}…" if is_long else text


# --- two runs ------------------------------------------------------------------------------------


def show_differences(remote: Remote, a: str, b: str) -> ExitCode:
    """Tell how two runs differ; USAGE where they cannot be compared."""
    compared: list[Told] = []

    async def work(client: GraphQLClient) -> Told:
        states = [await _state(client, each, None) for each in (a, b)]
        logs = [await _log(client, each) for each in (a, b)]
        told = _compared(states, logs)
        compared.append(told)
        return told

    code = carry_out(remote, work)
    return ExitCode.USAGE if code is ExitCode.FAILED and not compared else code


async def _log(client: GraphQLClient, execution_id: str) -> list[Event]:
    variables = {"id": execution_id, "after": "0"}
    async with aclosing(stored(client, STORED_WHOLE_EVENTS, "events", variables)) as stream:
        return [renamed(event) async for event in stream]


def _compared(states: Sequence[Document], logs: Sequence[Sequence[Event]]) -> Told:
    found = differences(*states)
    at = parting(*logs)
    document = {
        "same": not found,
        "a": _outline(states[0]),
        "b": _outline(states[1]),
        "partAt": None if at is None else str(at),
        "differences": [each.document() for each in found],
    }
    lines = [_difference_line(each) for each in found] or ["the same outcome"]
    lines.append(_parting_line(at, logs))
    return Told(document, lines, ExitCode.FAILED if found else ExitCode.COMPLETED)


def _outline(state: Document) -> Document:
    return {
        "id": state["id"],
        "status": state["status"],
        "lastSequence": str(state["lastSequence"]),
    }


def _difference_line(found: Difference) -> str:
    what = found.kind if found.key is None else f"{found.kind} {found.key}"
    sides = (
        "(none)" if found.missing == side else value if found.kind == "node" else _short(value)
        for side, value in (("a", found.a), ("b", found.b))
    )
    return f"{what}: {' → '.join(sides)}"


def _parting_line(at: int | None, logs: Sequence[Sequence[Event]]) -> str:
    if at is None:
        return "their logs tell the same"
    sides = (_event_words(log[at - 1]) if at <= len(log) else "(ends before)" for log in logs)
    return f"they part at event {at}: {' | '.join(sides)}"


def _event_words(event: Event) -> str:
    subject = event.get("nodeKey") or event.get("key")
    return f"{event['__typename']} {subject}" if subject else str(event["__typename"])


# --- pictures ------------------------------------------------------------------------------------


class Shown(Enum):
    """What of a run is drawn."""

    DIAGRAM = auto()
    GRAPH = auto()
    GRAPH_WITH_SUB_DIAGRAMS = auto()


def draw(
    remote: Remote,
    execution_id: str,
    *,
    format_: str,
    output: Path | None,
    at: int | None,
    shown: Shown,
) -> ExitCode:
    """Write the picture of a run, or of its execution graph; `format_` as GraphQL names it."""

    async def work(client: GraphQLClient) -> None:
        execution = await _drawn(client, execution_id, format_, at, shown)
        is_image = format_ == "PNG"
        write_output(base64.b64decode(execution) if is_image else execution.encode(), output)

    return carry_out(remote, work)


async def _drawn(
    client: GraphQLClient, execution_id: str, format_: str, at: int | None, shown: Shown
) -> str:
    is_graph = shown is not Shown.DIAGRAM
    variables: dict[str, Any] = {"id": execution_id, "format": format_}
    if at is not None:
        variables["at"] = str(at)
    if is_graph:
        variables["all"] = shown is Shown.GRAPH_WITH_SUB_DIAGRAMS
    document = GRAPH if is_graph else PICTURE if at is None else PICTURE_AT
    execution = (await client.execute(document, variables))["execution"]
    if execution is None:
        raise missing(execution_id)
    part = execution["executionGraph"] if is_graph else execution
    found = part if at is None or is_graph else part["stateAt"]
    return str(found["render"])
