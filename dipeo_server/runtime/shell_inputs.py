"""Inputs of a node as environment variables of a script or a command."""

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
    texts = {
        _spelled(name): value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in inputs.items()
    }
    _check(texts)
    named = {f"INPUT_{name}": text for name, text in texts.items()}
    return {"INPUT_KEYS": " ".join(texts), **named}


def command_environment(inputs: Mapping[str, Any]) -> dict[str, str]:
    """`DIPEO_INPUT_<NAME>` per input, as JSON. Raises CodeError as `shell_environment` does."""
    texts = {_spelled(name).upper(): orjson.dumps(value).decode() for name, value in inputs.items()}
    _check(texts)
    return {f"DIPEO_INPUT_{name}": text for name, text in texts.items()}


def _spelled(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _check(texts: Mapping[str, str]) -> None:
    size = sum(_checked_size(name, text) for name, text in texts.items())
    if size > ALL_BYTES_MAX:
        message = f"The inputs hold {size:,} bytes; a script can take {ALL_BYTES_MAX:,}."
        raise CodeError(message, hint=_HINT)


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
