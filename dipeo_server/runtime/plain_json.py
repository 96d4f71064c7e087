"""What handlers hand over becomes plain JSON of its own: nothing else is kept, sent or replayed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson

from dipeo_server.domains.execution.output import (
    HandlerResult,
    NodeOutput,
    WaitForPerson,
    WaitUntil,
)
from dipeo_server.errors import NodeError, OutputTooLarge

OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS


class NotPlain(NodeError):
    """A value that is not JSON."""

    code = "OUTPUT_NOT_JSON"


def plain_json(value: Any) -> Any:
    """The same value as JSON has it: tuples are lists, dates are text, keys are text.

    Raises NotPlain for what JSON cannot hold, OutputTooLarge beyond 16 MiB.
    """
    if value is None or isinstance(value, bool | float):
        return value if value == value else None
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        message = f"The output is not plain JSON: {error}."
        raise NotPlain(message, hint="Give text, numbers, booleans, lists and maps.") from error
    if len(encoded) > OUTPUT_BYTES_MAX:
        message = f"The output has {len(encoded):,} bytes; the limit is {OUTPUT_BYTES_MAX:,}."
        raise OutputTooLarge(message, hint="Write it to a file and pass the path on.")
    return orjson.loads(encoded)


def plain_result(result: HandlerResult) -> HandlerResult:
    """The result with plain JSON in it. Raises NotPlain, OutputTooLarge."""
    match result:
        case NodeOutput():
            return _plain_output(result)
        case WaitUntil(output=output):
            return replace(result, output=_plain_output(output))
        case WaitForPerson():
            schema = result.answer_schema
            return replace(
                result,
                prompt=plain_json(result.prompt),
                answer_schema=None if schema is None else plain_json(dict(schema)),
                default_answer=plain_json(result.default_answer),
            )
        case _:
            return result


def _plain_output(output: NodeOutput) -> NodeOutput:
    return replace(
        output, value=plain_json(dict(output.value)), metadata=plain_json(dict(output.metadata))
    )
