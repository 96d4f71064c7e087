"""What Python code gives becomes JSON, and its errors tell what and where."""

import json
from pathlib import Path

import pytest

from tests.runtime.code_world import Python


@pytest.fixture
def python(base_dir: Path) -> Python:
    return Python(base_dir)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, message",
    [
        ("a+=1\nresult = a", "NameError: name 'a' is not defined (line 1: a+=1)"),
        ("\n\nx = {}['k']", "KeyError: 'k' (line 3: x = {}['k'])"),
        ("def main():\n  raise ValueError", "ValueError (line 2: raise ValueError)"),
        ("return (1", "SyntaxError: '(' was never closed (line 1: return (1)"),
        ("if 1:\nx = 2", "IndentationError: expected an indented block after 'if' statement on "),
        ("x = 1\0", "source code string cannot contain null bytes"),
        ("import sys\nsys.exit('no data')", "SystemExit: no data (line 2: sys.exit('no data'))"),
        ("import json\njson.loads('{')", "(line 2: json.loads('{'))"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("raise ExceptionGroup('two', [ValueError(1)])", "ExceptionGroup: two (1 sub-exception)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (line 1: raise KeyboardInterrupt)"),
        ("assert 'half a pair: \\udc80' == ''", "AssertionError (line 1: "),
        ("raise ValueError('\\udc80')", "ValueError: ? (line 1: "),
        ("async def main():\n    return missing", "(line 2: return missing)"),
        ("input()", "EOFError: EOF when reading a line (line 1: input())"),
    ],
)
async def test_an_error_tells_what_and_where(code: str, message: str, python: Python) -> None:
    assert message in (await python.failure(code)).message


async def test_the_traceback_is_printed_without_the_machinery(python: Python) -> None:
    error = await python.failure("def main(data):\n    return data['k']\n", {"a": 1})
    assert error.message == "KeyError: 'k' (line 2: return data['k'])"
    shown = "\n".join(line for stream, line in python.lines if stream == "stderr")
    assert shown.startswith('Traceback (most recent call last):\n  File "<code>", line 2, in main')
    assert shown.endswith("KeyError: 'k'")
    assert "python_child" not in shown


async def test_what_may_go_better_next_time_is_retryable(python: Python) -> None:
    assert (await python.failure("raise OSError('busy')")).retryable
    assert not (await python.failure("no python")).retryable
    assert not (await python.failure("result = object()")).retryable


# --- JSON ---------------------------------------------------------------------------------------


async def test_what_json_does_not_know_becomes_what_is_closest(python: Python) -> None:
    code = """
        from collections import OrderedDict, namedtuple
        from dataclasses import dataclass, field
        from datetime import date, datetime, time, timezone
        from enum import Enum, IntEnum
        from pathlib import Path

        class Colour(Enum):
            RED = "red"

        class Level(IntEnum):
            LOW = 1

        @dataclass
        class Point:
            x: int
            tags: set = field(default_factory=lambda: {"b", "a"})

        class Model:
            def model_dump(self):
                return {"point": Point(2)}

        result = {
            "tuple": (1, (2, 3)),
            "named": namedtuple("Pair", "a b")(1, 2),
            "set": {3, 1, 10},
            "mixed": frozenset({"a", 1}),
            "date": date(2024, 2, 29),
            "datetime": datetime(2024, 2, 29, 12, tzinfo=timezone.utc),
            "time": time(12, 30),
            "path": Path("a/b"),
            "dataclass": Point(1),
            "model": Model(),
            "enum": [Colour.RED, Level.LOW],
            "ordered": OrderedDict(a=1),
            "keys": {1: "a", None: "b", True: "c", 1.5: "d"},
            "unicode": "ü 漢 \\u2028 \\x00",
        }
    """
    assert await python.value(code) == {
        "tuple": [1, [2, 3]],
        "named": [1, 2],
        "set": [1, 3, 10],
        "mixed": [1, "a"],
        "date": "2024-02-29",
        "datetime": "2024-02-29T12:00:00+00:00",
        "time": "12:30:00",
        "path": "a/b",
        "dataclass": {"x": 1, "tags": ["a", "b"]},
        "model": {"point": {"x": 2, "tags": ["a", "b"]}},
        "enum": ["red", 1],
        "ordered": {"a": 1},
        "keys": {"1": "c", "null": "b", "1.5": "d"},
        "unicode": "ü 漢 \u2028 \x00",
    }


@pytest.mark.parametrize(
    "expression, message",
    [
        ("{'a': [1, object()]}", "result['a'][1] is of type object, which is no JSON value."),
        ("[b'bytes']", "result[0] is of type bytes, which is no JSON value."),
        ("__import__('decimal').Decimal(1)", "result is of type decimal.Decimal, which is"),
        ("(x for x in [])", "result is of type generator, which is no JSON value."),
        ("int", "result is of type type, which is no JSON value."),
        ("{(1, 2): 3}", "result has the key (1, 2) of type tuple; JSON keys are text."),
        ("[float('inf')]", "result[0] is inf, for which JSON has no number."),
        ("{'n': 2**64}", "result['n'] is an integer of more than 64 bits"),
        ("'\\udc80'", "result holds half a surrogate pair"),
        ("[x := [], x.append(x)][0]", "nested deeper than 100 levels, or contains itself."),
    ],
)
async def test_what_cannot_be_json_is_named_with_its_place(
    expression: str, message: str, python: Python
) -> None:
    assert message in (await python.failure(f"result = {expression}")).message


async def test_the_largest_and_smallest_integers_arrive(python: Python) -> None:
    assert await python.value("return [2**64 - 1, -2**63]") == [2**64 - 1, -(2**63)]


async def test_inputs_arrive_as_they_are(python: Python) -> None:
    inputs = {"x": {"a": [1, 2.5, None, True, "ü 漢 \x00 \u2028"]}, "y": "line\r\n\ttab"}
    assert await python.value("return inputs", inputs) == inputs
    big = {"x": json.dumps("x" * 1_000_000)}
    assert await python.value("return len(x)", big) == 1_000_002
