"""The pytest plugin: what it gives to the tests of somebody else's project."""

import subprocess
import sys
from pathlib import Path

TESTS = '''
GREETING = """
version: light
nodes:
  - {label: begin, type: start}
  - {label: greet, type: template_job, props: {template_content: 'hello {{ name }}'}}
connections:
  - {from: begin, to: greet}
"""


%s
async def test_it_greets(dipeo):
    done = await dipeo.run(GREETING, {"name": "Ada"})
    assert done.raise_for_failure().output("greet") == "hello Ada"
    assert not any(dipeo.base_dir.iterdir())


def test_it_serves_code_without_a_loop(dipeo_url):
    assert dipeo_url.startswith("http://127.0.0.1:")
'''


def run_pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(folder / "pytest.ini")]
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )


def test_a_test_asks_for_a_server(tmp_path: Path) -> None:
    (tmp_path / "test_greeting.py").write_text(TESTS % "import pytest\n@pytest.mark.asyncio")
    done = run_pytest(tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_alone_loads_nothing_heavy() -> None:
    program = (
        "import sys, dipeo_server.testing.plugin\n"
        "print(*{'gql', 'starlette', 'strawberry', 'uvicorn', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
