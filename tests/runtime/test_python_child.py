"""What Python code sees, how its value is found, and what it is told when it fails."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.execution.ports import CodeRequest
from dipeo_server.errors import CodeError
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles


class Python:
    """Runs code and keeps what it printed."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.runner = ProcessCodeRunner(base_dir, BaseDirFiles(base_dir))
        self.lines: list[tuple[str, str]] = []

    async def value(self, code: str, /, inputs: dict[str, Any] | None = None, **more: Any) -> Any:
        fields: dict[str, Any] = {
            "language": "python",
            "code": textwrap.dedent(code),
            "file_path": None,
            "function_name": "main",
            "inputs": inputs or {},
            "timeout": 20,
            "node_id": "node_7",
        }
        request = CodeRequest(**(fields | more))
        return await self.runner.run(request, lambda *line: self.lines.append(line))

    async def file_value(self, code: str, /, inputs: dict[str, Any], **more: Any) -> Any:
        (self.base_dir / "code").mkdir(exist_ok=True)
        (self.base_dir / "code" / "job.py").write_text(textwrap.dedent(code))
        return await self.value("", inputs, **{"code": None, "file_path": "code/job.py", **more})

    async def failure(self, code: str, /, inputs: dict[str, Any] | None = None) -> CodeError:
        with pytest.raises(CodeError) as caught:
            await self.value(code, inputs)
        return caught.value


@pytest.fixture
def python(base_dir: Path) -> Python:
    return Python(base_dir)


# --- names --------------------------------------------------------------------------------------


async def test_inputs_are_names_and_inputs_holds_them_all(python: Python) -> None:
    inputs = {"default": 1, "raw data": "a,b", "class": 3, "2nd": 4, "größe": 5}
    code = "return [default, raw_data, größe, inputs, node_id]"
    assert await python.value(code, inputs) == [1, "a,b", 5, inputs, "node_7"]


async def test_a_name_as_written_wins_over_one_that_was_respelled(python: Python) -> None:
    assert await python.value("result = a_b", {"a_b": 1, "a b": 2}) == 1


async def test_default_is_none_where_no_input_has_that_name(python: Python) -> None:
    assert await python.value("return [default, inputs]", {"a": 1}) == [None, {"a": 1}]


async def test_variables_are_names_and_win_over_inputs(python: Python) -> None:
    code = "return [topic, depth, inputs['topic'], globals]"
    variables = {"topic": "new", "depth": 2}
    value = await python.value(code, {"topic": "old"}, variables=variables)
    assert value == ["new", 2, "old", variables]


async def test_the_input_named_default_is_never_hidden(python: Python) -> None:
    variables = {"default": "of the execution"}
    assert await python.value("return default", {"default": 1}, variables=variables) == 1
    assert await python.value("return default", variables=variables) == "of the execution"


async def test_globals_is_still_a_function(python: Python) -> None:
    code = "x = 1\nresult = [globals()['x'], globals['depth']]"
    assert await python.value(code, variables={"depth": 2}) == [1, 2]


@pytest.mark.parametrize(
    "text, seen",
    [
        ('{"a": [1]}', {"a": [1]}),
        ('  [1, "b"]\n', [1, "b"]),
        ("{not json}", "{not json}"),
        ("[" * 100_000, "[" * 100_000),
        ("12", "12"),
        ('"text"', '"text"'),
    ],
    ids=["map", "list", "braces", "deep", "number", "string"],
)
async def test_text_that_is_a_json_map_or_list_is_parsed(
    text: str, seen: Any, python: Python
) -> None:
    assert await python.value("return [x, inputs['x']]", {"x": text}) == [seen, seen]


async def test_an_input_may_be_assigned_to(python: Python) -> None:
    code = """
        data = data["rows"]
        def count():
            return len(data)
        result = [count() for _ in data]
    """
    assert await python.value(code, {"data": {"rows": [1, 2]}}) == [2, 2]


# --- the value ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, value",
    [
        ("result = 1", 1),
        ("x = 1", None),
        ("", None),
        ("# nothing but a comment", None),
        ("return 1", 1),
        ("result = 1\nreturn result + 1", 2),
        ("result = 1\nreturn", 1),
        ("if default:\n    return 1\nresult = 2", 2),
        ("def main(): return 1", 1),
        ("def main(): return 1\nresult = 2", 2),
        ("def main(): return 1\nreturn", None),
        ("async def main():\n    return 1", 1),
        ("class main:\n    def model_dump(self): return {'a': 1}", {"a": 1}),
        ("main = lambda: 1", 1),
        ("main = 1", None),
        ("result = 1\nimport sys\nsys.exit()", 1),
        ("def main(): return 1\nraise SystemExit(0)", None),
        ("def f():\n    global result\n    result = 1\nf()", 1),
        ("exec('result = 1')", 1),
        ("for result in range(3): pass", 2),
    ],
)
async def test_the_value_is_what_the_code_gives(code: str, value: Any, python: Python) -> None:
    assert await python.value(code) == value


@pytest.mark.parametrize(
    "code, value",
    [
        ("x = 1", None),
        ("result += 1", 6),
        ("result = result", 5),
        ("def main(result): return result + 2", 7),
        ("def main(main): return main", 3),
    ],
)
async def test_an_input_named_result_or_main_is_not_the_value(
    code: str, value: Any, python: Python
) -> None:
    assert await python.value(code, {"result": 5, "main": 3}) == value


async def test_code_with_a_return_means_what_it_meant_without(python: Python) -> None:
    code = '''
        """Text
          on several lines

        stays."""
        from __future__ import annotations
        import math as m, os.path
        text = """a

          b
        """
        counter: int = 0
        later: int


        def count(step=1):
            global counter
            counter += step
            return counter

        class Box:
            size: int = 2

        with open(os.devnull) as nothing:
            first, *rest = [count() for step in range(3)]
        try:
            raise ValueError("x")
        except ValueError as error:
            message = str(error)
        match {"k": 1, "more": 2}:
            case {"k": value, **others}:
                pass
        if (doubled := counter * 2) > 5:
            for index in range(2):
                return dict(
                    text=text, counter=counter, rest=rest, size=Box.size, message=message,
                    value=value, others=others, doubled=doubled, doc=__doc__, floor=m.floor(1.5),
                    visible=sorted(set(globals()) & {"first", "index", "Box", "later", "error"}),
                )
        return "not reached"
    '''
    assert await python.value(code) == {
        "text": "a\n\n  b\n",
        "counter": 3,
        "rest": [2, 3],
        "size": 2,
        "message": "x",
        "value": 1,
        "others": {"more": 2},
        "doubled": 6,
        "doc": "Text\n  on several lines\n\nstays.",
        "floor": 1,
        "visible": ["Box", "first", "index"],
    }


# --- calling the function -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature, shown, value",
    [
        ("data", "data", {"a": 1, "raw data": 2}),
        ("data: dict", "data", {"a": 1, "raw data": 2}),
        ("inputs", "inputs", {"a": 1, "raw data": 2}),
        ("inputs=None", "inputs", {"a": 1, "raw data": 2}),
        ("*data", "data", [{"a": 1, "raw data": 2}]),
        ("data, /", "data", {"a": 1, "raw data": 2}),
        ("data, *, a", "[data, a]", [{"a": 1, "raw data": 2}, 1]),
        ("x=None", "x", None),
        ("a", "a", 1),
        ("a, /", "a", 1),
        ("a, /, b=5", "[a, b]", [1, 5]),
        ("a, raw_data", "[a, raw_data]", [1, 2]),
        (
            "user_requirements=None, description='d'",
            "[user_requirements, description]",
            [None, "d"],
        ),
        ("a, b=5, *, raw_data, d=6", "[a, b, raw_data, d]", [1, 5, 2, 6]),
        ("a, **rest", "[a, rest]", [1, {"raw data": 2}]),
        ("**rest", "rest", {"a": 1, "raw data": 2}),
        ("default", "default", None),
        ("node_id, depth", "[node_id, depth]", ["node_7", 3]),
        ("", "[]", []),
    ],
)
async def test_a_function_gets_what_its_parameters_name(
    signature: str, shown: str, value: Any, python: Python
) -> None:
    code = f"def main({signature}):\n    return {shown}"
    inputs = {"a": 1, "raw data": 2}
    assert await python.value(code, inputs, variables={"depth": 3}) == value


async def test_a_parameter_that_nothing_fills_is_told(python: Python) -> None:
    error = await python.failure("def main(a, b): pass", {"a": 1, "c": 2})
    assert error.message == "No input is named like the parameter 'b'; inputs: 'a', 'c'."


async def test_a_function_of_another_name_is_called(python: Python) -> None:
    code = "def tidy(data):\n    return data"
    assert await python.value(code, {"a": 1}, function_name="tidy") == {"a": 1}


# --- files --------------------------------------------------------------------------------------


async def test_the_function_of_a_file_is_called(python: Python) -> None:
    code = "def process(a, **rest):\n    return [a, rest, __name__, __file__]"
    value = await python.file_value(code, {"a": 1, "b": 2}, function_name="process")
    assert value == [1, {"b": 2}, "code_job", str(python.base_dir / "code" / "job.py")]


async def test_in_a_file_the_function_counts_and_a_result_only_without(python: Python) -> None:
    assert await python.file_value("result = 1\ndef main(): return 2", {}) == 2
    assert await python.file_value("result = a + 1", {"a": 1}) == 2


async def test_a_file_with_neither_is_told(python: Python) -> None:
    with pytest.raises(CodeError, match=r"code/job\.py defines neither tidy\(\) nor result"):
        await python.file_value("def other(): pass", {}, function_name="tidy")


async def test_a_file_imports_from_its_folder_and_the_base_directory(python: Python) -> None:
    (python.base_dir / "shared_words.py").write_text("WORD = 'shared'")
    (python.base_dir / "code").mkdir()
    (python.base_dir / "code" / "near_words.py").write_text("WORD = 'near'")
    code = "import near_words, shared_words\nresult = near_words.WORD + shared_words.WORD"
    assert await python.file_value(code, {}) == "nearshared"
    assert not list(python.base_dir.rglob("__pycache__"))


async def test_an_error_in_a_file_names_the_file(python: Python) -> None:
    with pytest.raises(CodeError) as caught:
        await python.file_value("def main():\n    return 1 / 0\n", {})
    assert caught.value.message == (
        "ZeroDivisionError: division by zero (code/job.py line 2: return 1 / 0)"
    )


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
