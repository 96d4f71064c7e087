"""What a cell of code reads, exports and defines, found without running it."""

from __future__ import annotations

import pytest

from dipeo_server.errors import InvalidInput
from dipeo_server.executors.operation_code import CodeNames, definitions_in, names_of, program


@pytest.mark.parametrize(
    "code, reads, exports, functions",
    [
        ("x = y + 1", ("y",), ("x",), ()),
        ("x, (y, *z) = w", ("w",), ("x", "y", "z"), ()),
        ("x = len([])", (), ("x",), ()),
        ("x = 1\nx = x + 1", (), ("x",), ()),
        ("x += 1", ("x",), ("x",), ()),
        ("x = 0\nx += 1", (), ("x",), ()),
        ("for i in items:\n    last = i", ("items",), ("last",), ()),
        ("if ready:\n    a = 1\nelse:\n    b = 2", ("ready",), ("a", "b"), ()),
        ("x = [n for n in m if n > limit]", ("limit", "m"), ("x",), ()),
        ("import math\nfrom os import path as p\nx = math.pi", (), ("x",), ()),
        ("def f(a, b=c):\n    d = a + e\n    return d", ("c", "e"), (), ("f",)),
        ("async def f(): return x\nx = 1", (), ("x",), ("f",)),
        ("def f():\n    def g(): return h\n    return g", ("h",), (), ("f",)),
        ("class A:\n    b = c", ("c",), (), ()),
        ("_x = y\ndef _f(): pass", ("y",), (), ()),
        ("x: int = 1\ny: int", (), ("x",), ()),
        ("lambda q: q + r", ("r",), (), ()),
        ("print(x.attribute, x['key'])", ("x",), (), ()),
    ],
)
def test_the_names_of_a_cell(
    code: str, reads: tuple[str, ...], exports: tuple[str, ...], functions: tuple[str, ...]
) -> None:
    assert names_of(code) == CodeNames(reads, exports, functions)


@pytest.mark.parametrize("code", ["x =", "return 1", "x = 1\n  y = 2", "\0"])
def test_what_is_no_python_is_refused_with_its_line(code: str) -> None:
    with pytest.raises(InvalidInput, match="is no Python"):
        names_of(code)


def test_definitions_are_what_defines_and_nothing_that_does() -> None:
    code = "import os\nos.remove('x')\ndef f():\n    return 1\nclass A: pass\nprint(f())"
    assert definitions_in(code) == "import os\n\ndef f():\n    return 1\n\nclass A:\n    pass"


def test_a_program_ends_with_its_exports() -> None:
    assert program("x = f()", ("x",), ["def f(): return 1"]).splitlines()[-1] == (
        "result = {'x': x, }"
    )
