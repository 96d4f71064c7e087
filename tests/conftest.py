"""What every test may ask for: the corpus of real diagrams, an empty base directory, examples."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("DIPEO_CORPUS", ROOT.parent / "shared" / "corpus"))

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real diagrams, to be read only; without it the test is skipped."""
    if not CORPUS.is_dir():
        pytest.skip(f"no corpus of real diagrams at {CORPUS}; set DIPEO_CORPUS to its folder")
    return CORPUS


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    """An empty base directory, apart from whatever else a test keeps in its temporary folder."""
    folder = tmp_path / "base"
    folder.mkdir()
    return folder
