"""What a process prints comes as bounded lines, in order, each tagged with its stream."""

from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.runtime.line_output import LINE_BYTES_MAX, LineOutput

Lines = list[tuple[str, str]]


def fed(*pieces: tuple[str, bytes], lines_max: int = 1_000, bytes_max: int = 10_000_000) -> Lines:
    lines: Lines = []

    def sink(stream: str, line: str) -> None:
        lines.append((stream, line))

    output = LineOutput(sink, lines_max=lines_max, bytes_max=bytes_max)
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
