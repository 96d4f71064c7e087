"""What a child process does to run the Python code of a diagram; the server never imports it.

`run_python` takes the request and gives a JSON frame: `{"ok": value}` or `{"error": {...}}`. What
the code prints goes to stdout and stderr.
"""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import json
import keyword
import linecache
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time
from enum import Enum
from types import CodeType, ModuleType
from typing import Any, Final

DEPTH_MAX: Final = 100
MESSAGE_CHARACTERS_MAX: Final = 16_000
TRACEBACK_LINES_MAX: Final = 40
INTEGERS: Final = range(-(2**63), 2**64)
MODULE: Final = "code_job"
WRAPPER: Final = "__code_job__"
NOTHING: Final = Ellipsis  # where the code gave no value, not even None


class Unusable(Exception):
    """What the code gave is no JSON value, or it defines nothing that gives one."""


class Program:
    """The user's code and what it assigns. Makes its lines known to tracebacks."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.path: str | None = request["path"]
        self.filename: str = request["filename"]
        self.text: str = request["code"]
        self.function_name: str = request["function_name"]
        self.assigned: set[str] = set()
        self.is_wrapped = False
        self.lines = re.split(r"\r\n|\r|\n", self.text)
        shown = [f"{line}\n" for line in self.lines]
        linecache.cache[self.filename] = (len(self.text), None, shown, self.filename)

    def compile(self) -> CodeType:
        """The code as given, but a `return` outside of functions works. Raises SyntaxError."""
        tree = ast.parse(self.text, self.filename)
        for first, statement in enumerate(tree.body):
            if any(isinstance(node, ast.Return) for node in in_scope([statement])):
                wrap(tree, first, self.filename)
                self.is_wrapped = True
                break
        code = compile(tree, self.filename, "exec", dont_inherit=True)
        self.assigned = assigned_names(code, "STORE_NAME", "STORE_GLOBAL")
        return code

    def place(self, line: int) -> str:
        """`line 3: x = y`, with the file's path before it if it is a file."""
        text = self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""
        name = f"{self.path} line {line}" if self.path else f"line {line}"
        return f"{name}: {text}" if text else name


def wrap(tree: ast.Module, first: int, filename: str) -> None:
    """Move all statements from the first one on into a function; what they assign stays global."""
    moved = tree.body[first:]
    for node in in_scope(moved):
        if isinstance(node, ast.AnnAssign):
            # A global name may be annotated in a function only as `(name): type`.
            node.simple = 0
    (wrapper,) = ast.parse(f"def {WRAPPER}(): pass").body
    assert isinstance(wrapper, ast.FunctionDef)
    wrapper.body = [*moved, ast.Return(ast.Constant(NOTHING))]
    tree.body[first:] = [wrapper]
    ast.fix_missing_locations(tree)
    code = compile(tree, filename, "exec", dont_inherit=True)
    (inner,) = (each for each in inner_code(code) if each.co_name == WRAPPER)
    if names := [*inner.co_varnames, *inner.co_cellvars]:
        wrapper.body.insert(0, ast.Global(names, lineno=1, col_offset=0))


def in_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes and all below them, but not what is inside functions and classes."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def assigned_names(code: CodeType, *kinds: str) -> set[str]:
    """Global names that the code assigns by these instructions, or one of its functions."""
    own = {each.argval for each in dis.get_instructions(code) if each.opname in kinds}
    return own.union(*(assigned_names(inner, "STORE_GLOBAL") for inner in inner_code(code)))


def inner_code(code: CodeType) -> Iterator[CodeType]:
    """The functions and classes right inside."""
    return (each for each in code.co_consts if isinstance(each, CodeType))


class Globals(dict[str, Any]):
    """The execution's variables by the name `globals`; called, it is still Python's function."""

    def __call__(self) -> dict[str, Any]:
        """All names of the code."""
        return vars(sys.modules[MODULE])


def identifiers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values whose names code can use; other characters become `_` unless that name exists."""
    spelled = {re.sub(r"\W", "_", name): value for name, value in values.items()}
    return {
        name: value
        for name, value in (spelled | dict(values)).items()
        if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__")
    }


def parsed(value: Any) -> Any:
    """JSON objects and lists that arrive as text, as what they are."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def run_python(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the code and give the frame that tells how it went."""
    program = Program(request)
    try:
        return {"ok": plain(evaluate(program, request), "result")}
    except BaseException as error:  # noqa: BLE001 - whatever the code raises becomes its error
        return {"error": described(error, program)}


def evaluate(program: Program, request: Mapping[str, Any]) -> Any:
    """The code's value: what it returns, its `result`, or what its function gives."""
    module = ModuleType(MODULE)
    inputs = {name: parsed(value) for name, value in request["inputs"].items()}
    variables = request["variables"]
    names = {
        # Variables win over inputs of the same name, as in templates.
        **identifiers(inputs | variables),
        "default": inputs.get("default", variables.get("default")),
        "inputs": inputs,
        "node_id": request["node_id"],
        "globals": Globals(variables),
    }
    space = vars(module)
    space.update(names, __file__=program.filename)
    sys.modules[MODULE] = module
    sys.argv[:] = [program.filename]
    sys.path += request["search_path"]
    returned, has_ended = executed(program, space)
    result = own("result", space, names, program)
    function = own(program.function_name, space, names, program)
    if returned is not NOTHING and (returned is not None or result is NOTHING):
        return returned
    if callable(function) and not has_ended and (result is NOTHING or program.path):
        return called(function, inputs, names)
    if program.path and result is NOTHING and not has_ended:
        raise Unusable(f"{program.path} defines neither {program.function_name}() nor result.")
    return None if result is NOTHING else result


def executed(program: Program, space: dict[str, Any]) -> tuple[Any, bool]:
    """Run the code: what it returned outside of functions, and whether it ended by sys.exit()."""
    code = program.compile()
    try:
        exec(code, space)  # noqa: S102 - running the user's code is what this process is for
        return (space.pop(WRAPPER)() if program.is_wrapped else NOTHING), False
    except SystemExit as stop:
        if stop.code:
            raise
        return NOTHING, True


def own(name: str, space: Mapping[str, Any], names: Mapping[str, Any], program: Program) -> Any:
    """What the code itself put under that name, or NOTHING: inputs may have any name."""
    value = space.get(name, NOTHING)
    is_given = name in names and value is names[name] and name not in program.assigned
    return NOTHING if is_given else value


def called(function: Callable[..., Any], inputs: dict[str, Any], names: Mapping[str, Any]) -> Any:
    """Call the function with what its parameters ask for, by name.

    A single parameter that names nothing gets all inputs, as do functions that tell no signature.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return awaited(function(inputs))
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    takers = [each for each in parameters if each.kind <= each.VAR_POSITIONAL]
    if len(takers) == 1 and takers[0].default is takers[0].empty and takers[0].name not in names:
        arguments.append(inputs)
        parameters.remove(takers[0])
    for each in parameters:
        if each.kind is each.POSITIONAL_ONLY:
            arguments.append(value_of(each, names, inputs))
        elif each.kind is each.VAR_KEYWORD:
            keywords = {**inputs, **keywords}
        elif each.kind is not each.VAR_POSITIONAL:
            keywords[each.name] = value_of(each, names, inputs)
    return awaited(function(*arguments, **keywords))


def value_of(
    parameter: inspect.Parameter, names: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Any:
    """What is known by the parameter's name, else its default."""
    if parameter.name in names:
        return names[parameter.name]
    if parameter.default is not parameter.empty:
        return parameter.default
    known = ", ".join(map(repr, inputs)) or "none"
    raise Unusable(f"No input is named like the parameter {parameter.name!r}; inputs: {known}.")


def awaited(value: Any) -> Any:
    """The value itself, or what it gives when it has to be awaited."""
    if not inspect.isawaitable(value):
        return value

    async def finish() -> Any:
        return await value

    # Loading it takes longer than all else here, and few need it.
    return importlib.import_module("asyncio").run(finish())


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """The value as JSON knows it. Raises Unusable, naming the place."""
    if depth > DEPTH_MAX:
        raise Unusable(f"The result is nested deeper than {DEPTH_MAX} levels, or contains itself.")
    if value is None or isinstance(value, str | bool | int | float):
        return scalar(value, where)
    if isinstance(value, Mapping):
        return {
            key_text(key, where): plain(each, f"{where}[{key!r}]", depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, set | frozenset):
        value = in_order(value)
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{index}]", depth + 1) for index, each in enumerate(value)]
    return plain(simpler(value, where), where, depth + 1)


def scalar(value: Any, where: str) -> Any:
    """Text, a number, yes or no, if JSON can hold it."""
    if isinstance(value, Enum):
        return scalar(value.value, where)
    if isinstance(value, float) and not math.isfinite(value):
        raise Unusable(f"{where} is {value}, for which JSON has no number.")
    if isinstance(value, int) and value not in INTEGERS:
        raise Unusable(f"{where} is an integer of more than 64 bits; make it text with str().")
    if isinstance(value, str) and value != printable(value):
        raise Unusable(f"{where} holds half a surrogate pair, which is no character.")
    return value


def key_text(key: Any, where: str) -> str:
    """The key as text: JSON has no others."""
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    if isinstance(key, str):
        return str(scalar(key, where))
    raise Unusable(f"{where} has the key {key!r} of type {type_name(key)}; JSON keys are text.")


def in_order(values: Iterable[Any]) -> list[Any]:
    """Sorted, whatever they are."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=lambda value: (type_name(value), repr(value)))


def simpler(value: Any, where: str) -> Any:
    """What stands for a value that JSON does not know."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        fields = sys.modules["dataclasses"].fields(value)
        return {each.name: getattr(value, each.name) for each in fields}
    raise Unusable(f"{where} is of type {type_name(value)}, which is no JSON value.")


def type_name(value: Any) -> str:
    """The type with its module, unless that is Python itself."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def described(error: BaseException, program: Program) -> dict[str, Any]:
    """The error for people: what, where in the code, and the traceback without this program."""
    if isinstance(error, Unusable):
        return {"message": printable(str(error)), "traceback": [], "is_final": True}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != program.filename:
        trace = trace.tb_next
    text = str(error)
    steps = traceback.walk_tb(trace)
    lines = [line for step, line in steps if step.f_code.co_filename == program.filename]
    if isinstance(error, SyntaxError) and error.filename == program.filename:
        text, lines, error.__traceback__ = error.msg, [error.lineno or 1], None
    shown = traceback.format_exception(type(error), error, trace or error.__traceback__)
    tail = "".join(shown).splitlines()[-TRACEBACK_LINES_MAX:]
    return {
        "kind": type(error).__qualname__,
        "message": printable(text[:MESSAGE_CHARACTERS_MAX]),
        "place": printable(program.place(lines[-1])) if lines else "",
        "traceback": [printable(line) for line in tail],
        "is_final": isinstance(error, SyntaxError),
    }


def printable(text: str) -> str:
    """The text with `?` for what is no character."""
    return text.encode("utf-8", "replace").decode()
