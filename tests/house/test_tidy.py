"""The house is tidy, and every rule notices the mess it is about."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.rules import Source

ROOT = Path(__file__).parents[2]

Rule = Callable[[Source], Iterator[str]]

ABOUT_PYTHON: list[Rule] = [
    rules.long_files,
    rules.long_functions,
    rules.vague_names,
    rules.missing_docstrings,
    rules.relative_imports,
    rules.unexplained_exceptions,
]
ABOUT_THE_PACKAGE: list[Rule] = [rules.late_imports, rules.dangerous_calls]
ABOUT_DOMAINS: list[Rule] = [rules.ambient_time, rules.ambient_files]
ABOUT_EVERY_FILE: list[Rule] = [rules.registry_hosts, rules.making_of, rules.loose_ends]


def python(folder: str) -> Iterator[Source]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield Source(path.relative_to(ROOT).as_posix(), path.read_text())


def tracked() -> Iterator[Source]:
    """Every file under version control that is text."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip(f"not a git checkout: {listing.stderr.strip()}")
    for name in filter(None, listing.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in content:
            yield Source(name, content.decode())


def findings(rule: Rule, sources: Iterator[Source]) -> str:
    return "\n".join(found for source in sources for found in rule(source))


@pytest.mark.parametrize("rule", ABOUT_PYTHON)
@pytest.mark.parametrize("folder", ["dipeo_server", "tests", "bench"])
def test_python_is_tidy(rule: Rule, folder: str) -> None:
    assert findings(rule, python(folder)) == ""


@pytest.mark.parametrize("rule", ABOUT_THE_PACKAGE)
def test_the_package_is_tidy(rule: Rule) -> None:
    assert findings(rule, python("dipeo_server")) == ""


@pytest.mark.parametrize("rule", ABOUT_DOMAINS)
def test_the_domains_are_pure(rule: Rule) -> None:
    assert findings(rule, python("dipeo_server/domains")) == ""


@pytest.mark.parametrize("rule", ABOUT_EVERY_FILE)
def test_every_file_is_tidy(rule: Rule) -> None:
    assert findings(rule, tracked()) == ""


@pytest.mark.parametrize(
    "rule, path, text",
    [
        (rules.long_files, "x.py", "\n" * 401),
        (rules.long_functions, "x.py", "async def f():\n" + "    pass\n" * 60),
        (rules.vague_names, "dipeo_server/storage/utils.py", ""),
        (rules.vague_names, "dipeo_server/common/events.py", ""),
        (rules.missing_docstrings, "x.py", "import os"),
        (rules.missing_docstrings, "x.py", '"""things"""'),
        (rules.relative_imports, "x.py", "from . import y"),
        (rules.late_imports, "x.py", "def f():\n    import json"),
        (
            rules.late_imports,
            "x.py",
            "async def f():\n    if True:\n        from json import loads",
        ),
        (rules.dangerous_calls, "x.py", "eval('1')"),
        (rules.dangerous_calls, "x.py", "exec('1')"),
        (rules.dangerous_calls, "x.py", "run('ls', shell=True)"),
        (rules.dangerous_calls, "x.py", "run('ls', shell=chosen)"),
        (rules.dangerous_calls, "x.py", "os.system('ls')"),
        (rules.dangerous_calls, "x.py", "await asyncio.create_subprocess_shell('ls')"),
        (rules.dangerous_calls, "x.py", "import pickle"),
        (rules.dangerous_calls, "x.py", "from pickle import loads"),
        (rules.ambient_time, "x.py", "datetime.now(UTC)"),
        (rules.ambient_time, "x.py", "date.today()"),
        (rules.ambient_files, "x.py", "open('f')"),
        (rules.ambient_files, "x.py", "from pathlib import Path, PurePath"),
        (rules.ambient_files, "x.py", "import pathlib"),
        (rules.unexplained_exceptions, "x.py", "f()  # type: " + "ignore[arg-type]"),
        (rules.unexplained_exceptions, "x.py", "f()  # no" + "qa: S101, BLE001"),
        (rules.loose_ends, "x.py", "# TO" + "DO: more"),
        (rules.registry_hosts, "x.txt", "https://py" + "pi.org/simple"),
        (rules.registry_hosts, "package-lock.json", '"res' + 'olved": "https://x"'),
        (rules.making_of, "x.md", "see issue" + " 12"),
        (rules.making_of, "x.md", "cd /work" + "/main"),
    ],
)
def test_a_mess_is_noticed(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) != []


@pytest.mark.parametrize(
    "rule, path, text",
    [
        (rules.vague_names, "dipeo_server/domains/execution/state_manager.py", ""),
        (rules.late_imports, "dipeo_server/cli.py", "def f():\n    import uvicorn"),
        (rules.late_imports, "dipeo_server/runtime/llm.py", "def f():\n    import openai"),
        (rules.dangerous_calls, rules.CHILD, "exec(code, namespace)"),
        (rules.dangerous_calls, "x.py", "run(['ls'], shell=False)"),
        (rules.ambient_time, "x.py", "clock.now()"),
        (rules.ambient_files, "x.py", "from pathlib import PurePosixPath"),
        (
            rules.unexplained_exceptions,
            "x.py",
            "f()  # no" + "qa: BLE001 - every ending becomes a signal",
        ),
    ],
)
def test_what_is_allowed_passes(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []
