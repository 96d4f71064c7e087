"""The rules of the house that no linter knows; each is a function from a source to its findings."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
VAGUE = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}

# Heavy or optional libraries may be imported where they are used; the command line may import
# anything late, because `--help` must not load a web server.
LAZY_LIBRARIES = {"asyncpg", "openai", "pyseccomp", "temporalio"}
LAZY_FILES = "dipeo_server/cli"

# This file is the program of the child process that runs the code of diagrams.
CHILD = "dipeo_server/runtime/python_child.py"

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file of the project: its path from the root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def lines(self, pattern: str) -> Iterator[tuple[int, str]]:
        """The lines that match, each with its number."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if re.search(pattern, line):
                yield number, line.strip()

    def functions(self) -> Iterator[AnyFunction]:
        return (node for node in ast.walk(self.tree) if isinstance(node, AnyFunction))


def long_files(source: Source) -> Iterator[str]:
    count = len(source.text.splitlines())
    if count > FILE_LINES_MAX:
        yield f"{source.path}: {count} lines, at most {FILE_LINES_MAX}; what are its two parts?"


def long_functions(source: Source) -> Iterator[str]:
    for node in source.functions():
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        if count > FUNCTION_LINES_MAX:
            yield (
                f"{source.path}:{node.lineno}: {node.name} has {count} lines, "
                f"at most {FUNCTION_LINES_MAX}"
            )


def vague_names(source: Source) -> Iterator[str]:
    path = PurePosixPath(source.path)
    for part in (*path.parts[:-1], path.stem):
        if part in VAGUE:
            yield f"{source.path}: {part!r} says nothing about what is inside"


def missing_docstrings(source: Source) -> Iterator[str]:
    opening = (ast.get_docstring(source.tree) or "").partition("\n\n")[0]
    if not opening.endswith("."):
        yield f"{source.path}:1: a module opens with one sentence on what lives there"


def relative_imports(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{source.path}:{node.lineno}: imports are absolute"


def late_imports(source: Source) -> Iterator[str]:
    if source.path.startswith(LAZY_FILES):
        return
    for function in source.functions():
        for node in ast.walk(function):
            for name in imported(node):
                if name.partition(".")[0] not in LAZY_LIBRARIES:
                    yield f"{source.path}:{function.lineno}: {function.name} imports {name}"


def imported(node: ast.AST) -> list[str]:
    """The modules an import statement names; nothing for any other node."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module):
            return [module or "."]
        case _:
            return []


def dangerous_calls(source: Source) -> Iterator[str]:
    if source.path == CHILD:
        return
    for node in ast.walk(source.tree):
        for danger in dangers(node):
            yield f"{source.path}:{getattr(node, 'lineno', 1)}: {danger} is forbidden"


def dangers(node: ast.AST) -> Iterator[str]:
    """What in this node could run code, or a shell, in the process of the server."""
    match node:
        case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
            yield name
        case ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" as name):
            yield f"os.{name}"
        case ast.Attribute(attr="create_subprocess_shell" | "getoutput" as name):
            yield name
        case ast.keyword(arg="shell", value=value) if not is_false(value):
            yield "shell=True"
        case _:
            yield from (name for name in imported(node) if name in {"marshal", "pickle", "shelve"})


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def ambient_time(source: Source) -> Iterator[str]:
    """In the domains time is an argument, so the classes of `datetime` are not asked for it."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id="date" | "datetime"), attr="now" | "today" | "utcnow"
                )
            ):
                yield f"{source.path}:{node.lineno}: the time comes in as an argument"
            case _:
                pass


def ambient_files(source: Source) -> Iterator[str]:
    """Domains may reckon with paths (`PurePath`), but reading and writing is asked of a port."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id="open" | "input" | "print" as name)):
                yield f"{source.path}:{node.lineno}: {name}() in a domain"
            case ast.ImportFrom(module="pathlib", names=names):
                for alias in names:
                    if not alias.name.startswith("Pure"):
                        yield f"{source.path}:{node.lineno}: {alias.name} can touch the disk"
            case _:
                yield from (
                    f"{source.path}: use PurePath" for m in imported(node) if m == "pathlib"
                )


def unexplained_exceptions(source: Source) -> Iterator[str]:
    """A line that silences a tool says why, on the same line."""
    markers = r"type: ?ignore(\[[\w, -]+\])?|noqa(: ?[A-Z]+\d+(, ?[A-Z]+\d+)*)?"
    for number, line in source.lines(rf"# ?({markers})"):
        comment = re.split(rf"# ?(?={markers})", line, maxsplit=1)[-1]
        if len(re.findall(r"\w{2,}", re.sub(markers, "", comment))) < 2:
            yield f"{source.path}:{number}: say why, on this line: {line}"


def loose_ends(source: Source) -> Iterator[str]:
    for number, line in source.lines(r"\b(TO[D]O|FIX[M]E|XX[X])\b|pragma: no[ ]cover"):
        yield f"{source.path}:{number}: finish it or leave it out: {line}"


REGISTRY = "|".join(
    [
        r"\bpypi[.]org",
        r"pythonhosted[.]org",
        r"npmjs[.](org|com)",
        r"yarnpkg[.]com",
        r"crates[.]io",
        r"deb[.]debian[.]org",
        r"proxy[.]golang[.]org",
        r'"resolved": *"http',
        r'registry *= *"?http',
        r"--(extra-)?index-url\b",
    ]
)


def registry_hosts(source: Source) -> Iterator[str]:
    for number, _ in source.lines(REGISTRY):
        yield f"{source.path}:{number}: names a package registry, which is the machine's matter"


MAKING = "|".join(
    [
        r"/work/(main|shared|[.])",
        r"/ro[o]t/",
        r"/tmp/br[i]ef",
        r"\bthe br[i]ef\b",
        r"\b(this|last|next|work|coding) [s]ession\b",
        r"shared/(des[i]gn|se[e]ds)",
        r"design [f]older",
        r"\b[Ii][s]sue #?\d",
        r"Co-[A]uthored-By",
        r"[G]enerated (with|by) (Claude|Codex|Copilot)",
    ]
)


def making_of(source: Source) -> Iterator[str]:
    for number, line in source.lines(MAKING):
        yield f"{source.path}:{number}: the project speaks of itself alone: {line}"
