"""Documents as text: JSON, YAML, CSV and plain text, read into JSON values and written again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Literal, NoReturn

import yaml

from dipeo_server.domains.diagram.formats.json_values import fault_of
from dipeo_server.domains.diagram.formats.yaml_document import parse_yaml
from dipeo_server.domains.diagram.problem import DiagramInvalid
from dipeo_server.domains.execution.coercion import coerce
from dipeo_server.domains.execution.envelope import ContentType
from dipeo_server.errors import NodeError

Format = Literal["json", "yaml", "csv", "text", "xml"]

PARSED_CHARACTERS_MAX: Final = 8 * 1024 * 1024
EXTENSIONS: Final[Mapping[Format, str]] = {
    "json": ".json",
    "yaml": ".yaml",
    "csv": ".csv",
    "text": ".txt",
    "xml": ".xml",
}
_BY_SUFFIX: Final[Mapping[str, Format]] = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".csv": "csv",
    ".xml": "xml",
}
# What the YAML reader advises on these is about diagrams.
_ADVICE_ON_DIAGRAMS: Final = frozenset({"DOCUMENT_TOO_LARGE", "YAML_SYNTAX"})
# What a line with one empty cell is: a blank line would be no row.
_EMPTY_CELL: Final = '""'
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class DocumentError(NodeError):
    """A document cannot be read or written as what it is said to be."""

    code = "DOCUMENT_INVALID"


def format_of(path: str) -> Format:
    """The format that a file's suffix names; text for any other."""
    return _BY_SUFFIX.get(PurePosixPath(path).suffix.lower(), "text")


def parse(text: str, format_: Format, *, name: str) -> Any:
    """The JSON value in `text`; `name` is the document's, for messages.

    csv gives a list of maps from column to text (null where a row is too short); text and xml
    stay as they are. YAML dates become text. Raises DocumentError.
    """
    if format_ in {"text", "xml"}:
        return text
    if len(text) > PARSED_CHARACTERS_MAX:
        limit = f"{PARSED_CHARACTERS_MAX:,} characters"
        raise DocumentError(f"{name} is too large to be read as {format_}: at most {limit}.")
    match format_:
        case "json":
            return _parse_json(text, name)
        case "yaml":
            return _parse_yaml(text, name)
        case _:
            return _parse_csv(text, name)


def dump(value: Any, format_: Format) -> str:
    """The value as a document. Raises DocumentError.

    Text that already is JSON is kept as it is for json, any text for yaml, csv, text and xml. csv
    takes a list of maps (the columns are all their keys), a list of lists, or one map.
    """
    match format_:
        case "json":
            return value if isinstance(value, str) and _is_json(value) else _dump_json(value)
        case "yaml":
            return value if isinstance(value, str) else _dump_yaml(value)
        case "csv":
            return value if isinstance(value, str) else _dump_csv(value)
        case _:
            return as_text(value)


def as_text(value: Any) -> str:
    """A value for people: of a conversation the last message, of a lone `default` that, else JSON.

    Maps and lists are indented; null is the empty text.
    """
    text = coerce(value, ContentType.RAW_TEXT)
    if isinstance(text, str):
        return text
    indent = 2 if isinstance(text, dict | list) else None
    return "" if text is None else json.dumps(text, indent=indent, ensure_ascii=False)


# --- JSON and YAML


def _parse_json(text: str, name: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"{name} is not JSON: {where}: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{name} is not JSON: {error}.") from None
    return _checked(value, name)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _is_json(text: str) -> bool:
    try:
        _parse_json(text, "")
    except DocumentError:
        return False
    return True


def _checked(value: Any, name: str) -> Any:
    fault = fault_of(value)
    if fault is not None:
        raise DocumentError(f"{name} {fault}.")
    return value


def _dump_json(value: Any) -> str:
    text = json.dumps(_checked(value, "The value"), indent=2, ensure_ascii=False)
    return f"{text}\n"


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return parse_yaml(text).data
    except DiagramInvalid as invalid:
        problem = invalid.problems[0]
        where = f" (line {problem.location.line})" if problem.location else ""
        hint = None if problem.code in _ADVICE_ON_DIAGRAMS else problem.hint
        reason = problem.message.removeprefix("YAML: ").rstrip(".")
        raise DocumentError(f"{name} is not plain YAML: {reason}{where}.", hint=hint) from None


class _Dumper(_DUMPER):  # type: ignore[misc]  # the C class where there is one
    """Nothing as an alias: the reader refuses them."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _dump_yaml(value: Any) -> str:
    plain = _checked(value, "The value")
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.removesuffix("...\n")


# --- CSV


def _parse_csv(text: str, name: str) -> list[dict[str, str | None]]:
    rows = _csv_rows(text, name)
    if not rows:
        return []
    _, header = rows[0]
    columns = _columns(header, name)
    return [_record(columns, cells, f"{name}, line {line}") for line, cells in rows[1:]]


def _csv_rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DocumentError(f"{name} is not CSV: line {reader.line_num}: {error}.") from None


def _columns(header: Sequence[str], name: str) -> list[str]:
    columns = [cell.strip() or f"column_{number}" for number, cell in enumerate(header, start=1)]
    repeated = next((column for column in columns if columns.count(column) > 1), None)
    if repeated is not None:
        raise DocumentError(f"{name} has two columns {repeated!r}.", hint="Rename one of them.")
    return columns


def _record(columns: Sequence[str], cells: Sequence[str], place: str) -> dict[str, str | None]:
    if any(cells[len(columns) :]):
        message = f"{place}: a row of {len(cells)} cells, and the header has {len(columns)}."
        raise DocumentError(message, hint="Put cells that hold a comma in double quotes.")
    padding = [None] * (len(columns) - len(cells))
    return dict(zip(columns, [*cells, *padding], strict=False))


def _dump_csv(value: Any) -> str:
    records = _records(value)
    columns = list(dict.fromkeys(key for record in records or () for key in record))
    rows = _rows(value) if records is None else [[r.get(key) for key in columns] for r in records]
    return _csv_text([columns, *rows] if columns else rows)


def csv_addition(existing: str, value: Any, *, name: str) -> str:
    """What to append to the CSV text `existing` so that it holds the value too.

    Maps go by the columns that are there. Raises DocumentError for a key that is no column.
    """
    rows = _csv_rows(existing, name)
    joint = "" if not rows or existing.endswith("\n") else "\n"
    if not rows or isinstance(value, str):
        return joint + ended(dump(value, "csv"))
    records = _records(value)
    if records is None:
        return joint + _csv_text(_rows(value))
    columns = _columns(rows[0][1], name)
    unknown = next((key for record in records for key in record if key not in columns), None)
    if unknown is not None:
        hint = f"Its columns: {', '.join(columns)}."
        raise DocumentError(f"{name} has no column {unknown!r}.", hint=hint)
    return joint + _csv_text([record.get(column) for column in columns] for record in records)


def ended(text: str) -> str:
    """The text with a line break at its end, so that another may follow it."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def _records(value: Any) -> Sequence[Mapping[str, Any]] | None:
    """The maps of a list of maps, or a lone one; None for anything else."""
    items = value if isinstance(value, list) else [value]
    return items if items and all(isinstance(item, Mapping) for item in items) else None


def _rows(value: Any) -> list[list[Any]]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, list) else [item] for item in items]


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    # The library's writer leaves a carriage return unquoted unless every line ends with one.
    lines = (",".join(map(_cell, row)) for row in rows)
    return "".join(f"{line or _EMPTY_CELL}\n" for line in lines)


def _cell(value: Any) -> str:
    text = "" if value is None else value
    if not isinstance(text, str):
        text = json.dumps(text, ensure_ascii=False)
    if any(mark in text for mark in ',"\r\n'):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
