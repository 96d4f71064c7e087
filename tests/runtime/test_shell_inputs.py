"""Inputs become variables of a shell script."""

import pytest

from dipeo_server.errors import CodeError
from dipeo_server.runtime.shell_inputs import shell_environment


def test_text_stays_text_and_the_rest_becomes_json() -> None:
    inputs = {"text": "a b\nc", "list": [1, None, "é"], "number": 1.5, "yes": True, "none": None}
    assert shell_environment(inputs) == {
        "INPUT_KEYS": "text list number yes none",
        "INPUT_text": "a b\nc",
        "INPUT_list": '[1,null,"é"]',
        "INPUT_number": "1.5",
        "INPUT_yes": "true",
        "INPUT_none": "null",
    }


def test_names_are_spelled_as_a_shell_allows() -> None:
    environment = shell_environment({"raw data": "1", "größe": "2", "a.b-c": "3"})
    assert environment == {
        "INPUT_KEYS": "raw_data gr__e a_b_c",
        "INPUT_raw_data": "1",
        "INPUT_gr__e": "2",
        "INPUT_a_b_c": "3",
    }


def test_without_inputs_the_list_of_names_is_empty() -> None:
    assert shell_environment({}) == {"INPUT_KEYS": ""}


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"big": "x" * 200_000}, "'big' has 200,000 bytes"),
        ({str(number): "x" * 100_000 for number in range(11)}, "hold 1,100,000 bytes"),
        ({"nul": "a\0b"}, "'nul' holds a NUL character"),
    ],
)
def test_what_no_process_can_be_given_is_told(inputs: dict[str, str], message: str) -> None:
    with pytest.raises(CodeError, match=message) as caught:
        shell_environment(inputs)
    assert caught.value.hint
