"""What Python code sees, and how its value is found."""

from pathlib import Path
from typing import Any

import pytest

from dipeo_server.errors import CodeError
from tests.runtime.code_world import Python


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
