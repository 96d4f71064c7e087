"""The form a person's answer must have: a JSON schema, or pydantic models read as one.

Python source is parsed and never run: what only running could tell is left open in the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from dipeo_server.domains.execution.person.python_models import schema_of_source
from dipeo_server.domains.execution.person.python_types import TextFormatError
from dipeo_server.errors import ModelError

_ANSWER_SHOWN_CHARACTERS: Final = 200


def schema_of_text_format(text_format: str | Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema that a `text_format` means.

    It is a JSON schema (a map, or its text), or Python source with pydantic models. Raises
    TextFormatError, with the line where there is one.
    """
    if isinstance(text_format, Mapping):
        schema = dict(text_format)
    elif text_format.lstrip().startswith("{"):
        schema = _object(text_format)
    else:
        schema = schema_of_source(text_format)
    try:
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=checker)
    except SchemaError as error:
        path = "/".join(str(step) for step in error.absolute_path) or "its root"
        message = f"text_format is no JSON schema: at {path}: {error.message}"
        raise TextFormatError(message) from None
    except RecursionError:
        raise TextFormatError("text_format is nested too deeply.") from None
    return schema


def read_structured(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value in a model's answer; code fences around it are taken off.

    Raises ModelError, retryable, for text that is no JSON or that the schema does not accept.
    """
    try:
        value = json.loads(_unfenced(text))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"The model was asked for JSON and answered {_shown(text)}: {error}", retryable=True
        ) from None
    # An empty registry: a reference to somewhere else must not make this process fetch it.
    validator = jsonschema.Draft202012Validator(dict(schema), registry=Registry())
    try:
        mistake = best_match(validator.iter_errors(value))
    except (Unresolvable, RecursionError, re.error) as error:
        message = f"text_format cannot be applied: {type(error).__name__}: {error}"
        raise TextFormatError(message) from None
    if mistake is not None:
        raise ModelError(_mismatch(mistake, text), retryable=True)
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"text_format is no JSON: line {error.lineno}: {error.msg}."
        raise TextFormatError(message) from None
    except RecursionError:
        raise TextFormatError("text_format is nested too deeply.") from None
    return dict(document)


def _unfenced(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("```"):
        return stripped
    return stripped.partition("\n")[2].rpartition("```")[0]


def _mismatch(mistake: ValidationError, text: str) -> str:
    path = "/".join(str(step) for step in mistake.absolute_path) or "its root"
    said = mistake.message[:_ANSWER_SHOWN_CHARACTERS]
    return f"The model's answer does not fit text_format: at {path}: {said} (in {_shown(text)})"


def _shown(text: str) -> str:
    more = "…" if len(text) > _ANSWER_SHOWN_CHARACTERS else ""
    return repr(text[:_ANSWER_SHOWN_CHARACTERS] + more)
