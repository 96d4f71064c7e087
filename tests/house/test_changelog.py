"""The changelog tells about the version that is shipped."""

import re
from pathlib import Path

import dipeo_server

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def versions() -> list[str]:
    return re.findall(r"^## \[([^\]]+)\]", CHANGELOG.read_text(), flags=re.MULTILINE)


def test_the_top_entry_is_the_version_of_the_package() -> None:
    assert versions()[:1] == [dipeo_server.__version__]


def test_no_version_is_told_twice() -> None:
    assert len(versions()) == len(set(versions()))
