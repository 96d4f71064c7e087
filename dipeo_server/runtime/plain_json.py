"""What handlers hand over becomes plain JSON of its own: nothing else is kept, sent or replayed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from dipeo_server.domains.execution.output import (
    End,
    Fallback,
    Goto,
    HandlerResult,
    Message,
    NodeOutput,
    TokenUsage,
    WaitForPerson,
    WaitUntil,
)
from dipeo_server.errors import NodeError, OutputTooLarge

OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024
WAIT_SECONDS_MAX: Final = 10 * 366 * 24 * 3600
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS


class NotPlain(NodeError):
    """A value that is not JSON."""

    code = "OUTPUT_NOT_JSON"
    default_hint = "Give text, numbers, booleans, lists and maps."


def plain_json(value: Any) -> Any:
    """The same value as JSON has it: tuples are lists, dates are text, keys are text.

    Raises NotPlain for what JSON cannot hold, OutputTooLarge beyond 16 MiB.
    """
    if value is None or value is True or value is False:
        return value
    try:
        encoded = orjson.dumps(value, default=_plainer, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise NotPlain(f"The output is not plain JSON: {error}.") from error
    if len(encoded) > OUTPUT_BYTES_MAX:
        message = f"The output has {len(encoded):,} bytes; the limit is {OUTPUT_BYTES_MAX:,}."
        raise OutputTooLarge(message, hint="Write it to a file and pass the path on.")
    return orjson.loads(encoded)


def _plainer(value: Any) -> Any:
    """What is JSON but for its type: other maps, tuples with names, numbers of libraries."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError


def plain_result(result: HandlerResult) -> HandlerResult:
    """The result with plain JSON in it. Raises NotPlain, OutputTooLarge."""
    match result:
        case NodeOutput():
            return plain_output(result)
        case Goto(output=output) | End(output=output):
            return replace(result, output=plain_output(output))
        case Fallback(reason=reason, output=output):
            plain = None if output is None else plain_output(output)
            return Fallback(plain_json(str(reason)), plain)
        case WaitUntil(output=output):
            seconds = _seconds(result.seconds)
            return replace(result, seconds=seconds, output=plain_output(output))
        case WaitForPerson():
            schema, timeout = result.answer_schema, result.timeout
            return replace(
                result,
                prompt=plain_json(result.prompt),
                answer_schema=None if schema is None else _plain_map(schema, "The answer schema"),
                timeout=None if timeout is None else _seconds(timeout),
                default_answer=plain_json(result.default_answer),
            )
        case _:
            return result


def plain_output(output: NodeOutput) -> NodeOutput:
    """The output with plain JSON in it. Raises NotPlain, OutputTooLarge."""
    return NodeOutput(
        _plain_map(output.value, "The output"),
        _plain_map(output.metadata, "The metadata"),
        output.content_type,
        _plain_usage(output.token_usage),
        tuple(_plain_message(message) for message in output.messages),
    )


def _plain_map(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        message = f"{what} must be a map of names to values, not {type(value).__name__}."
        raise NotPlain(message, hint='A plain result is {"default": value}.')
    if not value:
        return {}
    found: dict[str, Any] = plain_json(dict(value))
    return found


def _plain_usage(usage: Any) -> TokenUsage | None:
    if usage is None:
        return None
    counts: list[Any] = [getattr(usage, name, None) for name in ("input", "output", "cached")]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise NotPlain(f"Token usage is whole numbers, not {usage!r}.")
    return TokenUsage(*counts)


def _plain_message(message: Any) -> Message:
    if not isinstance(message, Message):
        raise NotPlain(f"A message of the conversation is a Message, not {message!r}.")
    texts = (message.id, message.sender, message.recipient, message.content)
    return Message(*(plain_json(str(text)) for text in texts))


def _seconds(seconds: Any) -> float:
    is_number = isinstance(seconds, int | float) and math.isfinite(seconds)
    if not is_number or seconds > WAIT_SECONDS_MAX:
        message = f"One can wait for up to {WAIT_SECONDS_MAX:,} seconds, not for {seconds!r}."
        raise NotPlain(message, hint="Give a number of seconds.")
    return max(0.0, float(seconds))
