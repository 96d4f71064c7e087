"""Real diagrams that other people drew run unchanged, as `dipeo-server run FILE --json`.

Each sample is copied into a base directory of its own, with the files that it reads and a model
that answers anything. What a sample gets wrong itself is told honestly, at the node where it is.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dipeo_server.testing.stub_model import StubModel
from tests.cli.processes import Done, dipeo

SIMPLE = "dipeo/examples/simple_diagrams"
NATIVE = "dipeo/examples/native_diagrams"
PROJECTS = "dipeo/projects"

SECTION = {"id": "s1", "title": "Header", "description": "The top.", "acceptance": ["it shows"]}
SECTIONS = {"architecture": "one page", "sections": [SECTION, {**SECTION, "id": "s2"}]}

SECTION_MODELS = '''\
from pydantic import BaseModel, Field


class Section(BaseModel):
    """A part of the page."""

    id: str
    title: str
    description: str
    acceptance: list[str] = Field(min_length=1)


class Plan(BaseModel):
    architecture: str
    sections: list[Section] = Field(min_length=2)
'''

FRONTEND: Mapping[str, str] = {
    "projects/frontend_enhance/frontend_enhance_config.json": json.dumps({"target_score": 90}),
    "projects/frontend_enhance/section_models.py": SECTION_MODELS,
    "projects/frontend_enhance/prompts/prompt_generator.txt": "Again: {{section_title}}",
    "projects/frontend_enhance/prompts/prompt_generator_first.txt": "Write: {{section_title}}",
    "projects/frontend_enhance/generated/sections_data.json": json.dumps(SECTIONS),
}

DIPEODIPEO: Mapping[str, str] = {
    "projects/dipeodipeo/test_data_generator.txt": "Make data for {{workflow_description}}",
    "projects/dipeodipeo/diagram_generator.txt": "Draw it: {{workflow_description}}",
    "projects/dipeodipeo/test_data_models.py": (
        "from pydantic import BaseModel\n\n\nclass TestData(BaseModel):\n"
        "    headers: list[str]\n    rows: list[str]\n"
    ),
    "projects/dipeodipeo/light_diagram_models.py": (
        "from pydantic import BaseModel\n\n\nclass LightDiagram(BaseModel):\n"
        "    name: str\n    description: str\n"
    ),
    "projects/dipeodipeo/process.py": (
        "def process_diagram(generated_diagram):\n    return {'version': 'light'}\n"
    ),
}


@dataclass(frozen=True)
class Case:
    """A sample and how it should end; `runs` are how often nodes ran.

    `failed_at` is the node where the failure is; `code` its error.
    """

    path: str
    status: str = "COMPLETED"
    runs: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    failed_at: str | None = None
    code: str | None = None


CASES = [
    Case(f"{SIMPLE}/simple_iter.light.yaml", runs={"printer": 3, "ask": 1, "endpoint": 1}),
    Case(
        f"{SIMPLE}/simple_iter_code.light.yaml",
        status="FAILED",
        runs={"Code Job~1": 1, "Code Job": 1},
        failed_at="Code Job",
        code="CODE_ERROR",
    ),
    Case(
        f"{SIMPLE}/simple_data_processing.light.yaml",
        status="FAILED",
        runs={"load data": 1, "clean data": 1, "format report": 1},
        files={"files/uploads/sample_data.csv": "region,amount\nnorth,10\nsouth,\n"},
        failed_at="format report",
        code="CODE_ERROR",
    ),
    Case(
        f"{SIMPLE}/user_input_demo.light.yaml",
        runs={"ask_name": 1, "ask_age": 1, "greet": 1},
        options=["--answer", "ask_name=Ann", "--answer", "ask_age=42"],
    ),
    Case(f"{SIMPLE}/user_input_demo.light.yaml", status="WAITING", runs={"greet": 0}),
    Case(
        "dipeo/examples/light_diagrams/debate.light.yaml",
        runs={"Optimist": 2, "Pessimist": 3, "Judge Panel": 1},
        files={"files/uploads/questions.txt": "Should machines write programs?"},
    ),
    Case(
        f"{NATIVE}/debate.native.json",
        runs={"node_0": 2, "node_3": 3, "node_5": 1, "node_1": 1},
        files={"files/uploads/questions.txt": "Should machines write programs?"},
    ),
    Case(f"{NATIVE}/simple_iter.native.json", runs={"node_1": 3, "node_4": 1, "node_3": 1}),
    Case(
        "dipeo/files/quicksave.json",
        status="FAILED",
        runs={"node_0": 1, "node_2": 0, "node_8": 0},
        failed_at="node_1",
        code="NODE_TYPE_UNAVAILABLE",
    ),
    Case(
        "dipeo/examples/readable_diagrams/debatev1.readable.yaml",
        runs={"Optimist panel": 2, "Pessimist panel": 3, "Judge panel": 1, "End": 1},
        files={"files/uploads/questions.txt": "Should machines write programs?"},
    ),
    Case(
        "dipeo/examples/readable_diagrams/simple_iter_code.readable.yaml",
        status="FAILED",
        runs={"Code Job~1": 1, "Code Job": 1, "Endpoint": 0},
        failed_at="Code Job",
        code="CODE_ERROR",
    ),
    Case(
        f"{PROJECTS}/frontend_enhance/section_implementor.light.yaml",
        runs={"Prepare Context": 1, "Write Result": 1},
        files=FRONTEND,
        options=["--var", "index=1"],
    ),
    Case(
        f"{PROJECTS}/frontend_enhance/multi_section.light.yaml",
        runs={"Understand Requirements": 1, "Implement Sections": 1},
        files=FRONTEND,
    ),
    Case(f"{PROJECTS}/mcp-diagrams/hello_world.yaml", runs={"start": 1, "end": 1}),
    Case(f"{PROJECTS}/mcp-diagrams/my_workflow.yaml", runs={"printer": 3, "ask": 1}),
    Case(
        f"{PROJECTS}/codegen/diagrams/generate_strawberry.light.yaml",
        status="FAILED",
        failed_at="Build Unified IR",
        code="NODE_TYPE_UNAVAILABLE",
    ),
    Case(
        f"{PROJECTS}/codegen/diagrams/generate_all.light.yaml",
        status="FAILED",
        runs={"Generate Backend": 1, "Generate Frontend": 1, "End": 0},
        options=["--error-strategy", "collect"],
    ),
    Case(
        f"{PROJECTS}/dipeodipeo/test.light.yaml",
        runs={"generate_test_data": 1, "save_diagram": 1},
        files=DIPEODIPEO,
    ),
]

EXIT_CODES = {"COMPLETED": 0, "FAILED": 1, "WAITING": 4}


@pytest.fixture
def own_base(corpus: Path, base_dir: Path) -> Path:
    """A base directory with all samples in it, writable although the corpus may not be."""
    samples = corpus / "dipeo"
    for file in samples.rglob("*.*"):
        if file.is_file():
            copy = base_dir / file.relative_to(samples)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return base_dir


def put(base: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)


async def run(base: Path, case: Case) -> tuple[Done, StubModel]:
    file = base / case.path.removeprefix("dipeo/")
    store = base.parent / "runs.db"
    async with StubModel() as model:
        env = {"DIPEO_LLM_BASE_URL": model.base_url}
        places: list[str | Path] = ["--base-dir", base, "--store", store]
        done = await asyncio.to_thread(
            dipeo, "run", file, "--json", *places, *case.options, env=env
        )
    return done, model


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{Path(case.path).name}-{case.status}")
async def test_a_real_diagram_runs_as_its_author_meant(own_base: Path, case: Case) -> None:
    put(own_base, case.files)
    done, _ = await run(own_base, case)
    assert done.document["status"] == case.status, done.err
    assert done.code == EXIT_CODES[case.status]
    assert {key: done.state(key)["runs"] for key in case.runs} == case.runs
    if case.failed_at is not None:
        assert done.document["error"]["nodeKey"] == case.failed_at
        assert done.document["error"]["code"] == case.code
        assert done.state(case.failed_at)["status"] == "FAILED"


async def test_a_loop_asks_the_model_once_a_visit(own_base: Path) -> None:
    done, model = await run(own_base, CASES[0])
    assert len(model.requests) == 5  # Three for the printer, one to select memories, one to ask.
    saved = (own_base / "files/results/total.txt").read_text()
    assert saved == done.state("ask")["output"]["body"]


async def test_a_batch_of_sub_diagrams_implements_every_section(own_base: Path) -> None:
    (case,) = [each for each in CASES if "multi_section" in each.path]
    put(own_base, case.files)
    done, _ = await run(own_base, case)
    generated = own_base / "projects/frontend_enhance/generated"
    plan = json.loads((generated / "sections_data.json").read_text())
    results = json.loads((generated / "results.multi_section.json").read_text())
    assert len(plan["sections"]) == 2
    assert done.state("Prepare Batch Indices")["output"]["body"]["section_count"] == 2
    assert len(results["default"] if isinstance(results, dict) else results) == 2


async def test_edges_to_nodes_that_are_not_there_are_told_one_by_one(own_base: Path) -> None:
    done, _ = await run(own_base, Case(f"{NATIVE}/youtube_webhook.native.json"))
    assert done.code == 2
    assert done.document["status"] is None
    assert done.document["error"]["code"] == "DIAGRAM_INVALID"
    errors = [each for each in done.document["problems"] if each["severity"] == "ERROR"]
    assert {each["code"] for each in errors} == {"UNKNOWN_NODE"}
    assert {each["edgeKey"] for each in errors} == {f"arrow_{number}" for number in range(8)}
    assert (errors[0]["line"], errors[0]["column"]) == (67, 7)
    assert "'node_2'" in errors[0]["message"]
