"""What a cell of Python code reads, exports and defines; it is looked at, and never run here."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dipeo_server.errors import InvalidInput

_BUILT_IN: Final = frozenset(dir(builtins))
_DEFINITIONS: Final = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
)
PAYLOAD: Final = "_payload"
CALLED: Final = "_called"


@dataclass(frozen=True, slots=True)
class CodeNames:
    """Names of a cell: what it needs from others, the values and the functions it gives them."""

    reads: tuple[str, ...]
    exports: tuple[str, ...]
    functions: tuple[str, ...]


def names_of(code: str) -> CodeNames:
    """The names of a cell. Raises InvalidInput where it is no Python."""
    try:
        tree = ast.parse(code)
        table = symtable.symtable(code, "<cell>", "exec")
        compile(tree, "<cell>", "exec", dont_inherit=True)  # Refuses `return` outside of functions.
    except (SyntaxError, ValueError) as error:
        place = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise InvalidInput(f"The code of the cell is no Python: {error}{place}.") from error
    functions = [
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(each.name)
    ]
    grown = _grown(tree)
    own = {
        each.get_name()
        for each in table.get_symbols()
        if (each.is_assigned() or each.is_imported() or each.is_namespace())
        and each.get_name() not in grown
    }
    values = [name for name in _assigned(tree) if _is_public(name) and name not in functions]
    reads = [name for name in _free(table) if name not in own and name not in _BUILT_IN]
    return CodeNames(
        tuple(sorted(set(reads))), tuple(dict.fromkeys(values)), tuple(dict.fromkeys(functions))
    )


def definitions_in(code: str) -> str:
    """Its imports, functions and classes, without anything that it does."""
    tree = ast.parse(code)
    return "\n\n".join(ast.unparse(each) for each in tree.body if isinstance(each, _DEFINITIONS))


def program(code: str, exports: Iterable[str], definitions: Iterable[str]) -> str:
    """What is run for a cell: the definitions it calls, itself, and its exports as the result."""
    names = "".join(f"{name!r}: {name}, " for name in exports)
    return "\n\n".join([*definitions, code, f"result = {{{names}}}"])


def call_of(function: str, definitions: str) -> str:
    """What is run to call a function that a cell defines, with the payload."""
    return f"{definitions}\n\ndef {CALLED}():\n    return {function}({PAYLOAD})\n"


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _assigned(tree: ast.Module) -> Iterator[str]:
    """Names that assignments of the cell itself make, in order; not those of loops."""
    waiting: list[ast.AST] = [*reversed(tree.body)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assign):
            yield from (name for target in node.targets for name in _stored(target))
        elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value):
            yield from _stored(node.target)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _stored(target: ast.AST) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _grown(tree: ast.Module) -> frozenset[str]:
    """Names that are only ever assigned as `x += 1` is: they come from elsewhere."""
    grown = {
        each.target.id
        for each in ast.walk(tree)
        if isinstance(each, ast.AugAssign) and isinstance(each.target, ast.Name)
    }
    targets = [each.target for each in ast.walk(tree) if isinstance(each, ast.AugAssign)]
    plain = {
        each.id
        for each in ast.walk(tree)
        if isinstance(each, ast.Name)
        and isinstance(each.ctx, ast.Store)
        and not any(each is target for target in targets)
    }
    return frozenset(grown - plain)


def _free(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that are looked up outside of every function."""
    is_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        is_used = symbol.is_referenced() or (is_top and symbol.is_assigned())
        if is_used and (is_top or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _free(inner)
