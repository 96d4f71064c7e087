"""A code_job runs its code with the node's inputs and gives its value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydantic import ValidationError

from dipeo_server.domains.diagram import AfterCrash, DomainNode, ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution import ExecutionContext, NodeOutput, NodeRun
from dipeo_server.domains.execution.context import Services, Visit
from dipeo_server.domains.execution.handlers.code_job import CodeJobProps, code_job
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.registry import declared
from dipeo_server.errors import CodeError, FileMissing, NodeTimeout
from dipeo_server.runtime.code_runner import ProcessCodeRunner
from dipeo_server.runtime.files import BaseDirFiles
from dipeo_server.runtime.secrets import RunSecrets, SecretGrants, SecretKeeper
from dipeo_server.storage.memory import MemoryStore


class Node:
    """One code_job, and what it logs."""

    def __init__(self, base_dir: Path) -> None:
        self.base_dir = base_dir
        self.variables: dict[str, Any] = {}
        self.logged: list[tuple[str, str]] = []
        self.keeper = SecretKeeper({"sudo": "open-sesame"})

    def log(self, stream: str, text: str, *, level: str = "INFO") -> None:
        assert level == "INFO"
        self.logged.append((stream, text))

    async def run(self, props: Mapping[str, Any], /, **inputs: Any) -> Any:
        checked = CodeJobProps.model_validate(props)
        output = await code_job(
            DomainNode("Job", "node_3", "code_job", "Job", checked), self._context(inputs)
        )
        assert isinstance(output, NodeOutput)
        assert list(output.value) == ["default"]
        return output.value["default"]

    def _context(self, inputs: Mapping[str, Any]) -> ExecutionContext:
        files = BaseDirFiles(self.base_dir)
        unused = cast("Any", None)
        services = Services(
            clock=unused,
            files=files,
            code=ProcessCodeRunner(self.base_dir, files),
            models=unused,
            sub_diagrams=unused,
            secrets=RunSecrets(self.keeper, SecretGrants(MemoryStore()), ExecutionID("exec_0_a")),
        )
        node = ExecutableNode(0, "Job", "node_3", "code_job", "Job", {})
        visit = Visit(
            node_run=NodeRun("Job", 1),
            node=node,
            inputs=inputs,
            input_envelopes={},
            services=services,
            state_store=unused,
            log=self.log,
        )
        diagram = ExecutableDiagram((node,), (), (), "hash")
        return ExecutionContext(diagram, "exec_0_a", variables=self.variables, visit=visit)


@pytest.fixture
def node(base_dir: Path) -> Node:
    return Node(base_dir)


async def test_the_value_of_the_code_is_the_default_output(node: Node) -> None:
    node.variables["factor"] = 3
    value = await node.run({"code": "print('counting')\nreturn [n * factor, node_id]"}, n=2)
    assert value == [6, "node_3"]
    assert node.logged == [("stdout", "counting")]


@pytest.mark.parametrize("language", ["bash", "shell", "Bash"])
async def test_shell_scripts_run_too(language: str, node: Node) -> None:
    props = {"language": language, "code": "echo $INPUT_word; echo noted >&2"}
    assert await node.run(props, word="hello") == "hello"
    assert ("stderr", "noted") in node.logged


async def test_typescript_is_refused_with_a_way_out(node: Node) -> None:
    with pytest.raises(CodeError, match="no tsx") as caught:
        await node.run({"language": "typescript", "code": "const a = 1"})
    assert caught.value.hint == "Write the code in python or bash."


@pytest.mark.parametrize(
    "props",
    [
        {"file_path": "code/job.py", "function_name": "process"},
        {"filePath": "code/job.py", "functionName": "process"},
        {"code": "code/job.py\n", "functionName": "process"},
        {"code": " ", "file_path": "code/job.py", "function_name": "process"},
    ],
)
async def test_the_code_may_lie_in_a_file(props: dict[str, Any], node: Node) -> None:
    (node.base_dir / "code").mkdir()
    (node.base_dir / "code" / "job.py").write_text("def process(raw, **rest): return [raw, rest]")
    assert await node.run(props, raw=1, more=2) == [1, {"more": 2}]


async def test_a_script_may_be_named_as_the_code(node: Node) -> None:
    (node.base_dir / "job.sh").write_text("echo from the file")
    assert await node.run({"language": "bash", "code": "./job.sh"}) == "from the file"
    assert await node.run({"language": "bash", "code": "bash job.sh"}) == "from the file"
    with pytest.raises(FileMissing):
        await node.run({"language": "bash", "code": "missing.sh"})


async def test_the_timeout_is_the_nodes(node: Node) -> None:
    with pytest.raises(NodeTimeout, match=r"did not end within 0\.1 s"):
        await node.run({"code": "while True: pass", "timeout": 0.1})


def test_what_is_left_out_or_null_has_a_default() -> None:
    for written in ({}, {"language": None, "timeout": None, "function_name": None}):
        props = CodeJobProps.model_validate({"code": "x = 1", **written})
        assert (props.language, props.timeout, props.function_name) == ("python", 30.0, "main")


@pytest.mark.parametrize(
    "props, message",
    [
        ({}, "`code` or `file_path` is missing"),
        ({"code": "\n"}, "`code` or `file_path` is missing"),
        ({"code": "x", "file_path": "a.py"}, "give `code` or `file_path`, not both"),
        ({"code": "x", "timeout": 0}, "greater than 0"),
        ({"code": "x", "language": "ruby"}, "'python', 'bash', 'shell' or 'typescript'"),
    ],
)
def test_wrong_props_are_told_before_anything_runs(props: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CodeJobProps.model_validate(props)


def test_after_a_crash_only_code_with_effects_asks() -> None:
    spec = declared()["code_job"].spec
    assert spec.after_crash is AfterCrash.RERUN
    assert not spec.is_pure
    assert CodeJobProps.model_validate({"code": "x"}).crash_policy() is None
    effectful = CodeJobProps.model_validate({"code": "x", "effects": True})
    assert effectful.crash_policy() is AfterCrash.ASK


# --- nodes of real diagrams -----------------------------------------------------------------------


def node_of(corpus: Path, path: str, label: str) -> dict[str, Any]:
    document = yaml.safe_load((corpus / "dipeo" / path).read_text())
    (found,) = [each for each in document["nodes"] if each["label"] == label]
    return {**found, **found.get("props", {})}


PROCESSING = "examples/simple_diagrams/simple_data_processing.light.yaml"


async def test_data_is_cleaned_as_in_the_real_diagram(corpus: Path, node: Node) -> None:
    value = await node.run(
        node_of(corpus, PROCESSING, "clean data"),
        raw_data="name,amount\nann, 1\n,\nbob,2\n",
        config={"dataset_name": "sales_data"},
    )
    assert value == {
        "cleaned_data": [{"name": "ann", "amount": "1"}, {"name": "bob", "amount": "2"}],
        "statistics": {
            "total_rows": 3,
            "valid_rows": 2,
            "invalid_rows": 1,
            "columns": ["name", "amount"],
        },
        "dataset_name": "unknown",
    }


async def test_the_report_of_the_real_diagram_fails_honestly(corpus: Path, node: Node) -> None:
    with pytest.raises(CodeError) as caught:
        await node.run(
            node_of(corpus, PROCESSING, "format report"),
            analysis="fine",
            processed={"statistics": {}, "dataset_name": "x"},
        )
    assert caught.value.message == (
        """KeyError: 'statistics' (line 6: stats = input_data["statistics"])"""
    )


async def test_an_undefined_name_of_the_real_diagram_is_named(corpus: Path, node: Node) -> None:
    path = "examples/simple_diagrams/simple_iter_code.light.yaml"
    assert await node.run(node_of(corpus, path, "Code Job~1"), default={}) is None
    with pytest.raises(CodeError) as caught:
        await node.run(node_of(corpus, path, "Code Job"), default=None)
    assert caught.value.message == "NameError: name 'a' is not defined (line 1: a+=1)"


async def test_optional_parameters_of_the_real_diagram_keep_their_defaults(
    corpus: Path, node: Node
) -> None:
    props = node_of(corpus, "projects/dipeodipeo/test.light.yaml", "load_request")
    assert await node.run(props, default={}) == "Create a simple data processing diagram"
    node.variables["user_requirements"] = "a diagram of mine"
    assert await node.run(props, default={}) == "a diagram of mine"
    del node.variables["user_requirements"]
    (node.base_dir / "projects" / "dipeodipeo").mkdir(parents=True)
    (node.base_dir / "projects" / "dipeodipeo" / "request.txt").write_text("from the file\n")
    assert await node.run(props, default={}) == "from the file"


async def test_sections_of_the_real_diagrams_are_counted_and_cut_out(
    corpus: Path, node: Node
) -> None:
    folder = "projects/frontend_enhance"
    sections = {"sections": [{"title": "A"}, {"title": "B"}], "architecture": {"k": 1}}
    props = node_of(corpus, f"{folder}/multi_section.light.yaml", "Prepare Batch Indices")
    assert await node.run(props, sections=sections) == {
        "section_count": 2,
        "indices": [{"index": 0}, {"index": 1}],
    }
    section = {"id": "b", "title": "B", "description": "d", "acceptance": []}
    props = node_of(corpus, f"{folder}/section_implementor.light.yaml", "Prepare Context")
    value = await node.run(
        props,
        item={"index": 1},
        sections_data={**sections, "sections": [{}, section]},
        config={"prompt_requirements": ["short", "clear"]},
    )
    assert value["section"] == section
    assert value["prompt_requirements"] == "- short\n- clear"
    assert value["total_sections"] == 2
    assert node.logged == [("stdout", "Processing section 1: B")]
