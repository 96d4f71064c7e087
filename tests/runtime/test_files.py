"""Files below the base directory are read, written and found; nothing outside of it is."""

import asyncio
import ctypes
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from dipeo_server.domains.execution.ports import Files
from dipeo_server.errors import FileMissing, NodeError, OutputTooLarge, PathDenied
from dipeo_server.runtime import file_patterns
from dipeo_server.runtime.beneath import Opener, best_opener, open_by_kernel, open_by_walking
from dipeo_server.runtime.files import BaseDirFiles

SECRET = "the secret outside"


@pytest.fixture(params=[open_by_kernel, open_by_walking], ids=["kernel", "walking"])
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    if chosen is open_by_kernel and best_opener() is not open_by_kernel:
        pytest.skip("this kernel has no openat2, or forbids it")
    return chosen


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory with a neighbour that must stay unread."""
    base = tmp_path / "base"
    (base / "inside").mkdir(parents=True)
    (base / "inside" / "a.txt").write_text("inside")
    for neighbour in (tmp_path / "outside", tmp_path / "base-secret"):
        neighbour.mkdir()
        (neighbour / "a.txt").write_text(SECRET)
    (base / "link.txt").symlink_to(tmp_path / "outside" / "a.txt")
    (base / "inner-link.txt").symlink_to(base / "inside" / "a.txt")
    (base / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    (base / "dangling").symlink_to(tmp_path / "outside" / "new.txt")
    return base


@pytest.fixture
def files(base: Path, opener: Opener) -> Files:
    return BaseDirFiles(base, opener=opener)


ESCAPES = [
    "../outside/a.txt",
    "inside/../../outside/a.txt",
    "../base-secret/a.txt",
    "{outside}/a.txt",
    "{base}-secret/a.txt",
    "{base}/../outside/a.txt",
    "/etc/hostname",
    "/proc/self/environ",
    "/proc/self/cwd/README.md",
    "link.txt",
    "inner-link.txt",
    "linked/a.txt",
    "linked/../a.txt/../../outside/a.txt",
    "dangling",
    "..",
    "inside/..",
    "inside/../..",
    "inside\0/../a.txt",
    "",
    ".",
    "/",
]


def filled(path: str, base: Path) -> str:
    return path.replace("{base}", str(base)).replace("{outside}", str(base.parent / "outside"))


@pytest.mark.parametrize("path", ESCAPES, ids=repr)
async def test_no_path_leads_out_of_the_base_directory(path: str, base: Path, files: Files) -> None:
    path = filled(path, base)
    with pytest.raises(PathDenied):
        await files.read_text(path)
    with pytest.raises(PathDenied):
        await files.exists(path)
    with pytest.raises(PathDenied):
        await files.write_text(path, "overwritten")
    with pytest.raises(PathDenied):
        await files.write_text(path, "appended", append=True)
    for neighbour in ("outside", "base-secret"):
        assert (base.parent / neighbour / "a.txt").read_text() == SECRET
    assert not (base.parent / "outside" / "new.txt").exists()


@pytest.mark.parametrize("pattern", ["../*/*", "/etc/*", "{outside}/*", "linked/*", "../**"])
async def test_no_pattern_leads_out_of_the_base_directory(
    pattern: str, base: Path, files: Files
) -> None:
    with pytest.raises(PathDenied):
        await files.glob(filled(pattern, base))


async def test_patterns_follow_no_links(files: Files) -> None:
    assert await files.glob("**") == ["inside/a.txt"]
    assert await files.glob("*/a.txt") == ["inside/a.txt"]


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step."""
    here, exchanged = -100, 2
    names = os.fsencode(one), os.fsencode(other)
    code: int = ctypes.CDLL(None).renameat2(here, names[0], here, names[1], exchanged)
    return code == 0


async def test_a_folder_swapped_for_a_link_gives_nothing_away(base: Path, files: Files) -> None:
    if not exchange(base / "inside", base / "linked"):
        pytest.skip("this file system cannot swap two names in one step")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(base / "inside", base / "linked")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(300):
            try:
                seen.add(await files.read_text("inside/a.txt"))
                await files.write_text("inside/b.txt", "written")
                await files.write_text("inside/deep/c.txt", "appended", append=True)
            except NodeError as refusal:
                seen.add(refusal.code)
    finally:
        stop.set()
        thread.join()
    assert seen >= {"inside", "PATH_DENIED"}
    # The walk may call missing what was a link a moment ago and is a folder again.
    assert seen <= {"inside", "PATH_DENIED", "FILE_NOT_FOUND"}
    assert [entry.name for entry in (base.parent / "outside").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("path", ["inside", "a-pipe", "a-socket", "inside/a-pipe"])
async def test_only_regular_files_are_opened(path: str, base: Path, files: Files) -> None:
    os.mkfifo(base / "a-pipe")
    os.mkfifo(base / "inside" / "a-pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(base / "a-socket"))
        with pytest.raises(PathDenied):
            await files.read_text(path)
        with pytest.raises(PathDenied):
            await files.write_text(path, "text")
        with pytest.raises(PathDenied):
            await files.write_text(path, "text", append=True)
        assert not await files.exists(path)


async def test_a_path_with_a_slash_at_the_end_names_a_folder(files: Files) -> None:
    with pytest.raises(PathDenied, match="names a folder"):
        await files.write_text("inside/new/", "text")


@pytest.mark.parametrize("path", ["inside/a.txt", "./inside//a.txt", "x/../inside/a.txt"])
async def test_a_file_is_read_by_any_spelling_of_its_path(path: str, files: Files) -> None:
    assert await files.read_text(path) == "inside"
    assert await files.exists(path)


async def test_an_absolute_path_below_the_base_directory_is_taken(base: Path, files: Files) -> None:
    assert await files.read_text(f"{base}/inside/a.txt") == "inside"
    assert await files.write_text(f"{base}/new.txt", "text") == "new.txt"
    assert await files.glob(f"{base}/inside/*") == ["inside/a.txt"]


async def test_the_base_directory_itself_may_be_reached_through_a_link(
    base: Path, opener: Opener
) -> None:
    link = base.parent / "link-to-base"
    link.symlink_to(base, target_is_directory=True)
    files = BaseDirFiles(link, opener=opener)
    assert await files.read_text("inside/a.txt") == "inside"
    assert await files.read_text(f"{link}/inside/a.txt") == "inside"
    assert await files.read_text(f"{base}/inside/a.txt") == "inside"


@pytest.mark.parametrize(
    "path, hint",
    [
        ("inside/b.txt", "Did you mean 'inside/a.txt'?"),
        ("inisde/a.txt", "Did you mean 'inside'?"),
        ("Inside/a.txt", "Did you mean 'inside'?"),
        ("inside/quite-another-name", None),
        ("inside/a.txt/b.txt", None),
    ],
)
async def test_a_missing_file_names_what_lies_closest(
    path: str, hint: str | None, files: Files
) -> None:
    with pytest.raises(FileMissing, match="There is no file") as caught:
        await files.read_text(path)
    assert caught.value.hint == hint
    assert not await files.exists(path)


async def test_writing_makes_the_folders_and_gives_the_relative_path(
    base: Path, files: Files
) -> None:
    assert await files.write_text("new/deep/er/ü ñ 漢字.txt", "Grüße, 漢字 \r\n") == (
        "new/deep/er/ü ñ 漢字.txt"
    )
    assert (base / "new/deep/er/ü ñ 漢字.txt").read_bytes() == "Grüße, 漢字 \r\n".encode()
    assert await files.read_text("new/deep/er/ü ñ 漢字.txt") == "Grüße, 漢字 \r\n"
    assert await files.glob("new/**/*.txt") == ["new/deep/er/ü ñ 漢字.txt"]


async def test_a_file_where_a_folder_should_be_is_told(files: Files) -> None:
    with pytest.raises(PathDenied, match="not a directory"):
        await files.write_text("inside/a.txt/b.txt", "text")


async def test_appending_makes_the_file_and_goes_on_behind_it(files: Files) -> None:
    assert await files.write_text("log/lines.txt", "one\n", append=True) == "log/lines.txt"
    await files.write_text("log/lines.txt", "two\n", append=True)
    assert await files.read_text("log/lines.txt") == "one\ntwo\n"


async def test_of_concurrent_writers_one_whole_content_stays(base: Path, files: Files) -> None:
    contents = [str(digit) * 200_000 for digit in range(10)]
    async with asyncio.TaskGroup() as tasks:
        for content in contents:
            tasks.create_task(files.write_text("shared.txt", content))
    assert await files.read_text("shared.txt") in contents
    assert not [entry for entry in base.iterdir() if entry.name.endswith(".tmp")]


async def test_a_reader_never_sees_half_a_write(files: Files) -> None:
    contents = {"a" * 100_000, "b" * 100_000}
    await files.write_text("shared.txt", "a" * 100_000)

    async def write() -> None:
        for _ in range(20):
            for content in contents:
                await files.write_text("shared.txt", content)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await files.read_text("shared.txt") in contents
    await writing


async def test_concurrent_appends_keep_every_line_whole(files: Files) -> None:
    lines = {f"{number}:" + "x" * 1_000 for number in range(40)}
    async with asyncio.TaskGroup() as tasks:
        for line in lines:
            tasks.create_task(files.write_text("log.txt", f"{line}\n", append=True))
    assert set((await files.read_text("log.txt")).splitlines()) == lines


async def test_a_replaced_file_keeps_its_permissions(base: Path, files: Files) -> None:
    (base / "private.txt").write_text("old")
    (base / "private.txt").chmod(0o600)
    await files.write_text("private.txt", "new")
    assert stat.S_IMODE((base / "private.txt").stat().st_mode) == 0o600


async def test_a_file_beyond_the_limit_is_neither_read_nor_written(
    base: Path, opener: Opener
) -> None:
    files = BaseDirFiles(base, max_bytes=10, opener=opener)
    assert await files.write_text("ten.txt", "é" * 5) == "ten.txt"
    assert await files.read_text("ten.txt") == "é" * 5
    with pytest.raises(OutputTooLarge, match="10 bytes"):
        await files.write_text("ten.txt", "é" * 5 + "x")
    with pytest.raises(OutputTooLarge):
        await files.write_text("ten.txt", "x", append=True)
    (base / "eleven.txt").write_text("x" * 11)
    with pytest.raises(OutputTooLarge):
        await files.read_text("eleven.txt")


async def test_text_that_is_not_utf8_is_told(base: Path, files: Files) -> None:
    (base / "latin1.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(NodeError, match=r"'latin1\.txt' is not UTF-8 text: byte 2"):
        await files.read_text("latin1.txt")
    with pytest.raises(NodeError, match="cannot be written: position 1"):
        await files.write_text("new.txt", "a\udc80")


async def test_a_byte_order_mark_is_no_text(base: Path, files: Files) -> None:
    (base / "bom.csv").write_bytes(b"\xef\xbb\xbfname,age\n")
    assert await files.read_text("bom.csv") == "name,age\n"


async def test_a_missing_base_directory_is_told(tmp_path: Path, opener: Opener) -> None:
    files = BaseDirFiles(tmp_path / "nowhere", opener=opener)
    with pytest.raises(NodeError, match="The base directory cannot be opened"):
        await files.read_text("a.txt")


@pytest.fixture
def tree(tmp_path: Path, opener: Opener) -> Files:
    for name in (
        "a.csv",
        "b.json",
        "data/c.csv",
        "data/[1].csv",
        "data/deep/d.csv",
        "data/deep/deeper/e.csv",
        "data/.hidden/f.csv",
        ".dot.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # A name that is no UTF-8 cannot be told in JSON.
    (tmp_path / "data" / os.fsdecode(b"\xff.csv")).touch()
    return BaseDirFiles(tmp_path, opener=opener)


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("*.csv", ["a.csv"]),
        ("a.csv", ["a.csv"]),
        ("nothing.csv", []),
        ("nowhere/*.csv", []),
        ("a.csv/*", []),
        (".*", [".dot.csv"]),
        ("data/?.csv", ["data/c.csv"]),
        ("data/[[]1].csv", ["data/[1].csv"]),
        ("data/*/*.csv", ["data/deep/d.csv"]),
        ("data/.*/*.csv", ["data/.hidden/f.csv"]),
        ("data/**/e.csv", ["data/deep/deeper/e.csv"]),
        ("**/**/d.csv", ["data/deep/d.csv"]),
        ("**/deep/**", ["data/deep/d.csv", "data/deep/deeper/e.csv"]),
        (
            "**/*.csv",
            [
                "a.csv",
                "data/[1].csv",
                "data/c.csv",
                "data/deep/d.csv",
                "data/deep/deeper/e.csv",
            ],
        ),
    ],
)
async def test_a_pattern_finds_files(pattern: str, found: list[str], tree: Files) -> None:
    assert await tree.glob(pattern) == found


async def test_a_pattern_that_is_too_wide_is_refused(tmp_path: Path, opener: Opener) -> None:
    for number in range(file_patterns.FOUND_MAX + 1):
        (tmp_path / f"{number}.txt").touch()
    files = BaseDirFiles(tmp_path, opener=opener)
    with pytest.raises(OutputTooLarge, match="more than 10,000 files match"):
        await files.glob("*")
    assert await files.glob("12345.*") == []
    assert await files.glob("1234.*") == ["1234.txt"]
