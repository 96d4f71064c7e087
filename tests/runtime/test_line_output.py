"""What a process prints comes as bounded lines, in order, each tagged with its stream."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.runtime.line_output import LINE_BYTES_MAX, LineOutput, seen
from dipeo_server.runtime.redaction import Redactor

Lines = list[tuple[str, str]]


def fed(*pieces: tuple[str, bytes], **options: Any) -> Lines:
    lines: Lines = []

    def sink(stream: str, line: str) -> None:
        lines.append((stream, line))

    output = LineOutput(sink, **{"lines_max": 1_000, "bytes_max": 10_000_000} | options)
    for stream, data in pieces:
        output.feed(stream, data)
    output.finish()
    return lines


def test_lines_come_whole_in_order_and_the_last_needs_no_end() -> None:
    assert fed(("stdout", b"one\ntw"), ("stderr", b"oops\n"), ("stdout", b"o\r\n\nthree")) == [
        ("stdout", "one"),
        ("stderr", "oops"),
        ("stdout", "two"),
        ("stdout", ""),
        ("stdout", "three"),
    ]


@given(st.text(alphabet=st.characters(exclude_characters="\r\x1b")), st.integers(1, 5))
def test_the_size_of_the_pieces_does_not_matter(text: str, size: int) -> None:
    data = text.encode()
    pieces = [("stdout", data[start : start + size]) for start in range(0, len(data), size)]
    assert fed(*pieces) == fed(("stdout", data))


def test_a_long_line_is_cut() -> None:
    long = "é" * LINE_BYTES_MAX
    half = long.encode()[: LINE_BYTES_MAX + 5]
    (_, line), (_, after) = fed(("stdout", half), ("stdout", half), ("stdout", b"\nafter"))
    assert line.endswith("é… truncated")
    assert len(line.encode()) <= LINE_BYTES_MAX
    assert after == "after"


def test_a_line_of_the_longest_length_is_whole() -> None:
    ((_, line),) = fed(("stdout", b"x" * LINE_BYTES_MAX + b"\n"))
    assert line == "x" * LINE_BYTES_MAX


def test_too_many_lines_end_with_a_note() -> None:
    lines = fed(("stdout", b"x\n" * 5), ("stderr", b"more\n"), ("stderr", b"rest"), lines_max=3)
    assert [line for _, line in lines[:3]] == ["x", "x", "x"]
    assert [line.partition(":")[0] for _, line in lines[3:]] == ["output truncated"]


def test_too_many_bytes_end_with_a_note() -> None:
    lines = fed(("stdout", b"12345\n12345\n12345\n"), bytes_max=10)
    assert [line.partition(":")[0] for _, line in lines] == ["12345", "12345", "output truncated"]


def test_terminal_codes_and_bad_bytes_do_no_harm() -> None:
    printed = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain \xff\n"
    assert fed(("stdout", printed)) == [("stdout", "red plain �")]


@pytest.mark.parametrize(
    "printed, shown",
    [
        (b" 10%\r 50%\r100%\n", "100%"),
        (b"downloading\rdone\n", "doneloading"),
        (b"downloading\r\x1b[Kdone\r\n", "done"),
        (b"\r\n", ""),
        (b"a\x08b\x07\x00\tc\n", "ab\tc"),
        (b"\x1b(B\x1b[2J\x1b[?25l\x1b=\x1bMok\x1b[0m\n", "ok"),
        (b"\x1bP1;2|deadbeef\x1b\\\x1b]8;;http://x\x07link\x1b]8;;\x07\n", "link"),
        (b"\xc2\x9b31mC1\n", "31mC1"),
        (b"\x1b", ""),
    ],
)
def test_a_line_is_what_is_left_on_the_screen(printed: bytes, shown: str) -> None:
    """003-W6: carriage returns and terminal codes."""
    assert fed(("stdout", printed)) == [("stdout", shown)]


def test_a_progress_bar_without_end_is_one_line() -> None:
    bars = [("stdout", b"\r%d of many" % number) for number in range(50_000)]
    assert fed(*bars, bytes_max=10_000) == [("stdout", "49999 of many")]


def test_colours_are_kept_where_they_are_wanted_and_nothing_else() -> None:
    """003-W6: by option."""
    printed = b"\x1b[1;31mred\x1b[0m \x1b[2Jand \x1b]0;title\x07plain\x1b\n"
    kept = fed(("stdout", printed), with_colours=True)
    assert kept == [("stdout", "\x1b[1;31mred\x1b[0m and plain")]


def test_secrets_are_taken_out_before_a_line_is_cut() -> None:
    redactor = Redactor()
    redactor.learn("it", "open-sesame")
    for before in range(LINE_BYTES_MAX - 40, LINE_BYTES_MAX + 1):
        line = b"x" * before + b"open-sesame" * 500
        ((_, text),) = fed(("stdout", line), clean=redactor.text)
        assert "open-ses" not in text
        assert text.endswith("… truncated")
    coloured = b"open-\x1b[1msesame \x1b[0mred\n"
    kept = fed(("stdout", coloured), clean=redactor.text, with_colours=True)
    assert kept == [("stdout", "[secret it] red")]


def test_a_whole_output_is_seen_in_the_same_way() -> None:
    assert seen(b"\n 1%\r99%\r\n\x1b[1mtwo\x1b[0m\r\n\n") == "99%\ntwo"
