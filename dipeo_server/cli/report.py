"""How a run ended: one JSON object for programs, some lines for people."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dipeo_server.cli.durations import in_words, seconds_of
from dipeo_server.cli.outcome import ExitCode
from dipeo_server.errors import DipeoError

Document = dict[str, Any]

INLINE_BYTES_MAX: Final = 256 * 1024
PREVIEW_CHARACTERS_MAX: Final = 2_000

EXIT_CODES: Final = {
    "COMPLETED": ExitCode.COMPLETED,
    "FAILED": ExitCode.FAILED,
    "ABORTED": ExitCode.ABORTED,
}
"""Any other status means that the run was left as it stands."""


def exit_code(execution: Mapping[str, Any]) -> ExitCode:
    """The exit code for the status a run has."""
    return EXIT_CODES.get(execution["status"], ExitCode.LEFT_WAITING)


def of_run(execution: Mapping[str, Any], problems: Sequence[Any]) -> Document:
    """The JSON object of a run; `problems` are the warnings about its diagram."""
    return {
        "id": execution["id"],
        "status": execution["status"],
        "startedAt": execution["startedAt"],
        "endedAt": execution["endedAt"],
        "duration": seconds_of(execution["duration"]),
        "lastSequence": str(execution["lastSequence"]),
        "error": execution["error"],
        "tokenUsage": execution["tokenUsage"],
        "variables": execution["variables"],
        "nodeStates": [_node_state(state) for state in execution["nodeStates"]],
        "problems": list(problems),
    }


def of_error(
    error: DipeoError, problems: Sequence[Any] = (), execution_id: str | None = None
) -> Document:
    """The JSON object where there is no run to tell about, or where it was lost sight of."""
    told = {"code": error.code, "message": error.message, "hint": error.hint}
    return {"id": execution_id, "status": None, "error": told, "problems": list(problems)}


def in_one_line(value: Any) -> str:
    """The value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_json(document: Mapping[str, Any]) -> None:
    """Write one line to standard output; whatever is no Unicode stays escaped."""
    sys.stdout.buffer.write(f"{in_one_line(document)}\n".encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def write_lines(lines: Sequence[str]) -> None:
    """Write lines to standard output, if anybody still reads there."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def _node_state(state: Mapping[str, Any]) -> Document:
    node = state.get("node") or {}
    return {
        "nodeKey": state["nodeKey"],
        "label": node.get("label"),
        "type": node.get("type"),
        "status": state["status"],
        "occurrence": state["occurrence"],
        "attempt": state["attempt"],
        "runs": runs_of(state),
        "startedAt": state["startedAt"],
        "endedAt": state["endedAt"],
        "duration": seconds_of(state["duration"]),
        "skipReason": state["skipReason"],
        "error": state["error"],
        "tokenUsage": state["tokenUsage"],
        "output": _output(state["output"]),
    }


def runs_of(state: Mapping[str, Any]) -> int:
    """How often the node's handler was entered; retries and visits beyond its limit excluded."""
    entered = {
        run["occurrence"]
        for run in state["runs"]
        if run["startedAt"] is not None and run["status"] != "MAXITER_REACHED"
    }
    return len(entered)


def _output(output: Mapping[str, Any] | None) -> Document | None:
    if output is None:
        return None
    is_truncated = output["isTruncated"] or output["sizeBytes"] > INLINE_BYTES_MAX
    return {**output, "isTruncated": is_truncated, "body": None if is_truncated else output["body"]}


def in_lines(execution: Mapping[str, Any]) -> list[str]:
    """What a person wants to know at the end: the results, then how it went."""
    lines = []
    for state in execution["nodeStates"]:
        node = state.get("node") or {}
        if node.get("type") == "ENDPOINT" and state["status"] == "COMPLETED" and state["output"]:
            lines += ["", *_result(state)]
    tokens = execution["tokenUsage"]["total"]
    runs = sum(runs_of(state) for state in execution["nodeStates"])
    facts = [f"{runs} node run{'' if runs == 1 else 's'}"]
    facts += [f"{tokens} tokens"] if tokens else []
    took = in_words(seconds_of(execution["duration"]))
    lines += ["", f"{execution['status']}{f' after {took}' if took else ''}: {', '.join(facts)}"]
    return lines + error_lines(execution)


def error_lines(execution: Mapping[str, Any]) -> list[str]:
    """Why the run failed, and what can be done about it; nothing where it did not."""
    error = execution["error"]
    if not error:
        return []
    where = f" at {error['nodeKey']}" if error["nodeKey"] else ""
    hint = [f"Hint: {error['hint']}"] if error.get("hint") else []
    return [f"{error['code']}{where}: {error['message']}", *hint]


def _result(state: Mapping[str, Any]) -> list[str]:
    output = state["output"]
    saved = output["meta"].get("saved_to") if isinstance(output["meta"], dict) else None
    heading = f"{state['nodeKey']}{f' (saved to {saved})' if saved else ''}:"
    body = output["body"]
    if isinstance(body, dict) and set(body) == {"default"}:
        body = body["default"]
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, indent=2)
    if output["isTruncated"]:
        text = f"({output['sizeBytes']} bytes)"
    elif len(text) > PREVIEW_CHARACTERS_MAX:
        text = f"{text[:PREVIEW_CHARACTERS_MAX]} … ({len(text)} characters)"
    return [heading, *(f"  {line}" for line in text.splitlines())]
