"""Inputs of a node as environment variables of a shell script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from dipeo_server.errors import CodeError

VARIABLE_BYTES_MAX: Final = 120_000
ALL_BYTES_MAX: Final = 1_000_000
_HINT: Final = "Put it into a file and hand over its path, or use language: python."


def shell_environment(inputs: Mapping[str, Any]) -> dict[str, str]:
    """`INPUT_<name>` per input (other characters become `_`) and their names in INPUT_KEYS.

    Text is given as it is, everything else as JSON. Raises CodeError for what a system cannot hand
    to a process: too much, or text with a NUL character.
    """
    spelled = {re.sub(r"\W", "_", name, flags=re.ASCII): value for name, value in inputs.items()}
    environment = {"INPUT_KEYS": " ".join(spelled)}
    size = 0
    for name, value in spelled.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        size += _checked_size(name, text)
        environment[f"INPUT_{name}"] = text
    if size > ALL_BYTES_MAX:
        message = f"The inputs hold {size:,} bytes; a script can take {ALL_BYTES_MAX:,}."
        raise CodeError(message, hint=_HINT)
    return environment


def _checked_size(name: str, text: str) -> int:
    if "\0" in text:
        message = f"The input {name!r} holds a NUL character, which no variable of a shell can."
        raise CodeError(message, hint=_HINT)
    size = len(text.encode("utf-8", "replace"))
    if size > VARIABLE_BYTES_MAX:
        message = (
            f"The input {name!r} has {size:,} bytes; a script can take {VARIABLE_BYTES_MAX:,}."
        )
        raise CodeError(message, hint=_HINT)
    return size
