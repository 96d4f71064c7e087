"""Secrets are let out in every way that runs know, and nothing that is kept or told holds one."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.api.serving import RUN, light
from tests.proofs.leaky_forms import FORMS

CANARIES = {
    "canary_one": 'c4n"ary/+1 é<x>&\\yellow',
    "canary-two": "line-one-of-canary\nline-two/of+canary==",
}
ROOT = Path(__file__).parents[2]
LIBRARY = str(Path(__file__).with_name("leaky_forms.py"))
WAYS = (
    *("returned", "key", "metadata", "large", "put", "observed", "raised", "hinted", "crashed"),
    *("logged", "said", "asked", "fallen back"),
)
AT_ONCE = 6

STATUS = "query ($id: ID!) { execution(id: $id) { isActive } }"
STATE = """
query ($id: ID!) {
  execution(id: $id) {
    status variables error { code message hint }
    nodeStates {
      nodeKey status error { message hint } output { body meta } runs { __typename }
      inputs { __typename }
    }
    nodeOutputs { body meta }
    barriers { prompt reason }
    logs(first: 1000) { nodes { stream text } }
    timeline { __typename }
    render(format: DOT)
    events(first: 500) {
      nodes {
        __typename
        ... on NodeCompleted { output { body meta } }
        ... on NodeFailed { error { code message hint } }
        ... on ObservedError { error { code message hint } }
        ... on ExecutionFailed { error { code message hint } }
        ... on BarrierWaiting { prompt }
        ... on StateChanged { key value }
      }
    }
  }
}
"""

PRINTS = {
    "stdout": "print('it is', text)",
    "stderr": "import sys; print(text, file=sys.stderr)",
    "returned": "result = {'deep': [text]}",
    "key": "result = {text: 1}",
    "raised": "raise ValueError('x' * 1990 + ' ' + text)",
    "exits": "import sys; sys.exit('bye ' + text)",
    "dies": "import os, sys; print(text, file=sys.stderr); os._exit(3)",
    "large": "result = ['x' * 300_000, text]",
    "in pieces": "import os; os.write(1, text[:5].encode()); os.write(1, text[5:].encode())",
}


def python_jobs(name: str) -> Iterator[str]:
    """Code that has the secret from its environment, or from a variable of the run."""
    for form in FORMS:
        for number, (way, leak) in enumerate(PRINTS.items()):
            if form not in ("plain", "in base64", "json in json") and number > 0:
                continue
            source = 'os.environ["IT"]' if number % 2 else "canary"
            plain = f"text = {source}"
            encode = (
                ""
                if form == "plain"
                else f"\ntext = runpy.run_path({LIBRARY!r})['FORMS'][{form!r}](text)"
            )
            code = f"import os, runpy\n{plain}{encode}\n{leak}"
            fields = {"code": code, "tty": way == "stdout", "env": {"IT": f"secret://{name}"}}
            yield light(
                "begin -> work -> end",
                begin="start",
                work=f"code_job, {json.dumps(fields)[1:-1]}",
                end="endpoint",
            )


def commands(name: str) -> Iterator[str]:
    """Scripts and hooks."""
    env = {"IT": f"secret://{name}"}
    for script in (
        'echo "$IT"; echo "$IT" >&2',
        'printf %s "$IT" | base64 -w0',
        'printf %s "user:$IT" | base64 -w0 >&2; exit 3',
        'printf %s "$IT"; kill -9 $$',
    ):
        for type_, fields in (
            ("code_job", {"language": "bash", "code": script, "env": env}),
            ("hook", {"config": {"command": "bash", "args": ["-c", script], "env": env}}),
            ("hook", {"config": {"command": "cat", "stdin": f"secret://{name}"}, "tty": True}),
        ):
            work = f"{type_}, {json.dumps(fields)[1:-1]}"
            yield light("begin -> work -> end", begin="start", work=work, end="endpoint")


def handlers(name: str) -> Iterator[str]:
    """Handlers of installed packages, which run in the server."""
    forms = list(FORMS)
    for number, way in enumerate(WAYS):
        for form in {"plain", forms[number % len(forms)], forms[(3 * number + 1) % len(forms)]}:
            fields = {"secret_name": name, "form": form, "way": way}
            work = f"leaks, {json.dumps(fields)[1:-1]}"
            yield light("begin -> work -> end", begin="start", work=work, end="endpoint")


def traces(text: str) -> Iterator[bytes]:
    """Whatever would show the secret, the parts of it that stay the same in base64 included."""
    for part in {text, *text.splitlines()}:
        for form in ("plain", "url", "form", "hex", "html"):
            yield FORMS[form](part).encode()
        for is_ascii in (True, False):
            once = json.dumps(part, ensure_ascii=is_ascii)[1:-1]
            yield once.encode()
            yield json.dumps(once, ensure_ascii=is_ascii)[1:-1].encode()
        data = part.encode()
        for start in range(3):
            whole = data[start : start + (len(data) - start) // 3 * 3]
            yield base64.b64encode(whole)
            yield base64.urlsafe_b64encode(whole)


class Server:
    """A server process with the canaries, and everything that it has told."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.client = client
        self.told: list[bytes] = []
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, query: str, **variables: Any) -> Any:
        request = {"query": query, "variables": variables}
        response = await self.client.post(self.url, json=request, timeout=30)
        self.told.append(response.content)
        answer = response.json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def run(self, content: str, variables: dict[str, Any]) -> str:
        """Run it to its end, looking at everything; gives its status."""
        source = {"inline": {"name": "leak", "content": content, "format": "LIGHT"}}
        wish = {"source": source, "variables": variables}
        async with self._places:
            started = (await self.ask(RUN, input=wish))["runDiagram"]
            assert started["errors"] == [], started["errors"]
            id_ = started["execution"]["id"]
            while (await self.ask(STATUS, id=id_))["execution"]["isActive"]:  # noqa: ASYNC110 - the plainest client
                await asyncio.sleep(0.02)
            found = (await self.ask(STATE, id=id_))["execution"]
            return str(found["status"])


@asynccontextmanager
async def server(folder: Path, canaries: dict[str, str]) -> AsyncIterator[Server]:
    """Serve; one canary comes from the environment, the others from a file."""
    (folder / "base").mkdir()
    first, *others = canaries
    file = folder / "canaries.yaml"
    file.write_text(json.dumps({name: canaries[name] for name in others}))
    file.chmod(0o600)
    environment = {
        **os.environ,
        f"DIPEO_SECRET_{first.upper()}": canaries[first],
        "DIPEO_SECRETS_FILE": str(file),
        "PYTHONPATH": str(ROOT),
    }
    program = [str(Path(__file__).with_name("leaky_server.py")), str(folder / "kept" / "runs.db")]
    with (folder / "stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program, str(folder / "base")),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        try:
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            async with httpx.AsyncClient() as client:
                yield Server(f"{url}/graphql", client)
        finally:
            process.terminate()
            await process.communicate()


async def test_no_secret_is_kept_or_told_however_it_is_let_out(tmp_path: Path) -> None:
    """003-W7, 003-08: never in envelopes, events, logs; searched for in all that is stored."""
    (tmp_path / "kept").mkdir()
    diagrams = [
        (content, {"canary": f"secret://{name}"})
        for name in CANARIES
        for kind in (python_jobs, commands, handlers)
        for content in kind(name)
    ]
    assert len(diagrams) > 150
    async with server(tmp_path, CANARIES) as running:
        ends = await asyncio.gather(*(running.run(*each) for each in diagrams))
        kept = [path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()]
        assert any(path.name.endswith("-wal") for path in (tmp_path / "kept").iterdir())
    kept += [path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    kept.append((tmp_path / "stderr").read_bytes())
    assert {"COMPLETED", "FAILED"} == set(ends)
    assert ends.count("COMPLETED") > 60
    hits = {
        trace
        for text in CANARIES.values()
        for trace in traces(text)
        for data in [*kept, *running.told]
        if trace in data
    }
    assert hits == set()
    # It was let out indeed.
    assert sum(b"[secret canary" in data for data in running.told) > 80
