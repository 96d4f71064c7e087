"""A server with a node type that tells secrets in every way there is: `leaky_server.py STORE BASE`.

It prints its URL. `leaks` takes the secret from the port that every handler has, writes it in the
`form` that is asked for, and lets it out at the place that `way` names.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dipeo_server.domains.diagram import DomainNode
from dipeo_server.domains.execution import ExecutionContext
from dipeo_server.domains.execution.handlers import NodeProps, create_node_output, node_handler
from dipeo_server.domains.execution.output import Fallback, HandlerResult, WaitForPerson
from dipeo_server.errors import NodeError
from dipeo_server.node_types import node_types
from dipeo_server.server import serve
from dipeo_server.settings import Settings
from tests.proofs.leaky_forms import FORMS


class LeaksProps(NodeProps):
    """What is let out, how and where."""

    secret_name: str
    form: str
    way: str


@node_handler("leaks", props=LeaksProps)
async def leaks(node: DomainNode[LeaksProps], ctx: ExecutionContext) -> HandlerResult:
    """Let a secret out."""
    reference = f"secret://{node.props.secret_name}"
    text = FORMS[node.props.form]((await ctx.secrets.fill(reference)).reveal())
    output = create_node_output({"default": "done"})
    match node.props.way:
        case "returned":
            return create_node_output({"default": [{"deep": f"it is {text}"}]})
        case "key":
            return create_node_output({"default": {text: 1}})
        case "metadata":
            return create_node_output({"default": 1}, {"note": text})
        case "large":
            return create_node_output({"default": ["x" * 300_000, text]})
        case "asked":
            return WaitForPerson(
                "approval", {"prompt": text}, timeout=0.01, default_action="approve"
            )
        case "fallen back":
            return Fallback(f"because of {text}")
        case _:
            tell(node.props.way, text, ctx)
    return output


def tell(way: str, text: str, ctx: ExecutionContext) -> None:
    """Let it out on the side, or as an error."""
    match way:
        case "put":
            ctx.put("found", {"deep": [text]})
        case "observed":
            ctx.observe("SEEN", f"seen: {text}", hint=text)
        case "raised":
            raise NodeError(f"{'x' * 16_370} {text} was refused.")
        case "hinted":
            raise NodeError("It was refused.", hint=f"Try {text}.")
        case "crashed":
            raise ValueError({"password": text})
        case "logged":
            ctx.log("stdout", f"{'x' * 65_530}{text}")
        case _:
            ctx.log("tokens", text)


def main() -> None:
    """Serve until the end."""
    store, base_dir = sys.argv[1:]
    settings = Settings(port=0, base_dir=Path(base_dir), store=f"sqlite:{store}")
    asyncio.run(serve(settings, lambda url: print(url, flush=True), node_types()))


if __name__ == "__main__":
    main()
