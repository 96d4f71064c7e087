"""The contracts of pyproject.toml hold, and each one notices when it is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURITY = "Domains do no I/O and own no clock, dice or threads"

# One line that breaks each contract: its name, the file, what is planted there.
BREACHES = [
    ("Floors", "storage/planted.py", "import dipeo_server.runtime"),
    ("Floors", "drawer.py", "X = 1"),
    ("Behaviour stands on nouns", "domains/diagram/x.py", "import dipeo_server.domains.execution"),
    ("Inside execution", "domains/execution/ids.py", "import dipeo_server.domains.execution.state"),
    (PURITY, "domains/diagram/planted.py", "import time"),
    (PURITY, "errors.py", "import os.path"),
    ("No cycles anywhere", "storage/planted.py", "import dipeo_server.storage.other"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in `folder`, away from the installed one."""
    program = "import importlinter.cli as cli; cli.lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "dipeo_server", tmp_path / "dipeo_server")
    return tmp_path


def test_every_contract_holds() -> None:
    report = lint(ROOT)
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize("contract, path, line", BREACHES)
def test_a_planted_breach_is_noticed(copy: Path, contract: str, path: str, line: str) -> None:
    planted = copy / "dipeo_server" / path
    before = planted.read_text() if planted.exists() else '"""Planted."""\n'
    planted.write_text(f"{before}\n{line}\n")
    (copy / "dipeo_server/storage/other.py").write_text(
        '"""Planted."""\n\nimport dipeo_server.storage.planted\n'
        if contract.startswith("No cycles")
        else '"""Planted."""\n'
    )
    report = lint(copy)
    assert f"{contract} BROKEN" in report.stdout, report.stdout + report.stderr
