"""For tests and scripts: a real server in a line, a client for it, and a model without a model.

`server` and `server_in_thread` serve, `Client` speaks to any server, `stub_model` stands in for a
language model. `pip install 'dipeo-server[testing]'` brings what they need, and a pytest plugin,
which is why nothing heavy is loaded before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dipeo_server.testing.client import Client
    from dipeo_server.testing.results import (
        Barrier,
        Event,
        Execution,
        NodeResult,
        Refused,
        RunFailed,
    )
    from dipeo_server.testing.serving import Server, server, server_in_thread

__all__ = [
    "Barrier",
    "Client",
    "Event",
    "Execution",
    "NodeResult",
    "Refused",
    "RunFailed",
    "Server",
    "server",
    "server_in_thread",
]

_HOMES: Final = {
    "Client": "client",
    "Server": "serving",
    "server": "serving",
    "server_in_thread": "serving",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'results')}"), name)
