"""Jinja templates over plain JSON values, in a sandbox with bounded work and without a loader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, UndefinedError, nodes

from dipeo_server.domains.execution.jinja_sandbox import TemplateEnvironment
from dipeo_server.domains.execution.operations import SCALARS, Refused, check_value, nearest
from dipeo_server.domains.execution.template_syntax import TemplateError

TEMPLATE_CHARACTERS_MAX = 131_072
NODES_MAX = 10_000
OUTPUT_BYTES_MAX = 1_048_576


def render_jinja(template: str, context: Mapping[str, Any]) -> str:
    """Render a Jinja template; the values of `context` are plain JSON, and stay unchanged.

    Undefined names are errors. Beyond Jinja's pure filters there are `json`, `snake_case`,
    `camel_case`, `pascal_case` and `kebab_case`; `{{#if x}}`, `{{#unless x}}`, `{{#each x}}` with
    `{{else}}` are read as Jinja's own blocks. Raises TemplateError, with the line.
    """
    try:
        return _render(template, context)
    except TemplateSyntaxError as error:
        raise TemplateError(f"Line {error.lineno} of the template: {error.message}") from None
    except UndefinedError as error:
        raise TemplateError(_located(f"{error.message}{_nearest(error, context)}", error)) from None
    except Refused as refusal:
        raise TemplateError(_located(str(refusal), refusal), hint=refusal.hint) from None
    except RecursionError as error:
        raise TemplateError(_located("Something is nested too deeply", error)) from None
    except (SyntaxError, MemoryError):
        raise TemplateError("The template is nested too deeply") from None
    except (JinjaError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise TemplateError(_located(str(error), error)) from None


def _render(template: str, context: Mapping[str, Any]) -> str:
    program = _compile(template)
    environment = TemplateEnvironment(program.call_cost)
    names = program.names & (context.keys() - environment.globals.keys())
    values = {name: context[name] for name in names}
    for name, value in values.items():
        _check_plain(name, value)
    compiled = environment.template_class.from_code(environment, program.code, environment.globals)
    text = compiled.render(values)
    if len(text.encode(errors="replace")) > OUTPUT_BYTES_MAX:
        raise Refused(f"The template renders more than {OUTPUT_BYTES_MAX} bytes")
    return text


def _check_plain(name: str, value: Any) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            pending.extend(item.keys())
            pending.extend(item.values())
        elif type(item) in {list, tuple}:
            pending.extend(item)
        elif type(item) in SCALARS:
            check_value(item)
        else:
            raise Refused(f"{name!r} holds a {type(item).__name__}, which is not plain JSON")


def _located(problem: str, error: BaseException) -> str:
    """The problem, behind the line of the template that was being rendered, if any."""
    line = None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return problem if line is None else f"Line {line} of the template: {problem}"


def _nearest(error: UndefinedError, context: Mapping[str, Any]) -> str:
    match = re.fullmatch("'(.+)' is undefined", error.message or "")
    return nearest(match[1], context) if match else ""


# ------------------------------------------------------------------------------ compiling

_CALLED = (nodes.Macro, nodes.CallBlock, nodes.Block)
_UNAVAILABLE: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.Pow: "The power operator **",
}


@dataclass(frozen=True, slots=True)
class _Program:
    """A compiled template, the names in it, and what one call of a macro may cost."""

    code: CodeType
    names: frozenset[str]
    call_cost: int


@lru_cache(maxsize=64)
def _compile(template: str) -> _Program:
    if len(template) > TEMPLATE_CHARACTERS_MAX:
        raise Refused(f"The template has more than {TEMPLATE_CHARACTERS_MAX} characters")
    environment = TemplateEnvironment()
    tree = environment.parse(_translated(template))
    parts = list(tree.find_all(nodes.Node))
    if len(parts) > NODES_MAX:
        raise Refused(f"The template has more than {NODES_MAX} parts")
    names = {part.name for part in parts if isinstance(part, nodes.Name)}
    call_cost = max((_count(part) for part in parts if isinstance(part, _CALLED)), default=1)
    for part in parts:
        _check_available(part)
        _guard(part)
    tree.set_environment(environment)
    return _Program(environment.compile(tree), frozenset(names), call_cost)


def _count(node: nodes.Node) -> int:
    return 1 + sum(1 for _ in node.find_all(nodes.Node))


def _check_available(part: nodes.Node) -> None:
    wording = _UNAVAILABLE.get(type(part))
    if isinstance(part, nodes.For) and part.recursive:
        wording = "A recursive loop"
    if wording:
        raise TemplateSyntaxError(f"{wording} is not available in templates", part.lineno)


def _guard(part: nodes.Node) -> None:
    """Puts a guard wherever a value is bound, compared or repeated.

    Without guards work could grow with neither an operator nor a filter in sight: `[x, x]` in a
    loop doubles what is inside, and comparing two such values takes for ever.
    """
    match part:
        case nodes.For():
            cost = nodes.Const(_count(part), lineno=part.lineno)
            part.iter = _guarded(part.iter, "#loop", cost)
        case nodes.Assign():
            part.node = _guarded(part.node, "#bound")
        case nodes.With():
            part.values = [_guarded(value, "#bound") for value in part.values]
        case nodes.Compare() | nodes.Operand():
            part.expr = _guarded(part.expr, "#bound")
        case nodes.Getitem(arg=nodes.Slice()):
            part.node = _guarded(part.node, "#bound")
        case nodes.Concat():
            part.nodes = [_guarded(nodes.List(part.nodes, lineno=part.lineno), "#concat")]
        case _:
            pass  # Nothing else makes a value last or grow.


def _guarded(node: Any, name: str, *arguments: nodes.Expr) -> nodes.Expr:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


# ----------------------------------------------------------------------------- handlebars

_RAW = re.compile(r"(\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\})", re.DOTALL)
_BLOCK = re.compile(r"\{\{\s*#(?:if|unless|each)\b")
_TAG = re.compile(r"\{\{([^{}]*)\}\}")
_OPENING = {
    "if": "{{% if ({}) is truthy %}}",
    "unless": "{{% if ({}) is not truthy %}}",
    "each": "{{% for this in ({}) | each %}}",
}
_CLOSING = {"/if": "{% endif %}", "/unless": "{% endif %}", "/each": "{% endfor %}"}
_PLACES = {"@index": "loop.index0", "@first": "loop.first", "@last": "loop.last"}


def _translated(template: str) -> str:
    """The template with DiPeO's blocks, if it has any, as Jinja's; lines stay where they are."""
    if not _BLOCK.search(template):
        return template
    parts = _RAW.split(template)
    parts[::2] = [_TAG.sub(_translated_tag, part) for part in parts[::2]]
    return "".join(parts)


def _translated_tag(match: re.Match[str]) -> str:
    written = re.sub("@(?:index|first|last)", lambda place: _PLACES[place[0]], match[0])
    text = written[2:-2].strip()
    lines = "\n" * written.count("\n")
    if text == "else":
        return "{% else %}" + lines
    if text in _CLOSING:
        return _CLOSING[text] + lines
    opening = re.fullmatch(r"#(if|unless|each)\s+(.+)", text, re.DOTALL)
    return (
        _OPENING[opening[1]].format(opening[2].replace("\n", " ")) + lines if opening else written
    )
