"""A body that is too large is refused, and costs the server no memory."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import started
from tests.proofs.test_subscription_memory import memory_of

BODY_BYTES = 50_000_000
PIECE_BYTES = 100_000
BODIES = 3
GROWTH_BYTES_MAX = 10_000_000


def pieces() -> Iterator[bytes]:
    for _ in range(BODY_BYTES // PIECE_BYTES):
        yield b" " * PIECE_BYTES


@pytest.mark.prove
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="there is no /proc here")
@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_of_50_megabytes_is_refused_without_being_kept(
    base_dir: Path, is_announced: bool
) -> None:
    env = {"DIPEO_AUTH": "none", "DIPEO_STORE": "memory:", "DIPEO_BASE_DIR": str(base_dir)}
    headers = {"content-type": "application/json"}
    if is_announced:
        headers["content-length"] = str(BODY_BYTES)
    with started("serve", "--port", "0", env=env) as server:
        url = server.line().removeprefix("ready ")
        with httpx.Client(trust_env=False, timeout=60) as client:
            assert client.post(url, json={"query": "{ serverInfo { version } }"}).json()["data"]
            before = memory_of(server)
            for _ in range(BODIES):
                response = client.post(url, content=pieces(), headers=headers)
                assert response.status_code == 413
            growth = memory_of(server) - before
    print(f"{growth} bytes more behind {BODIES} bodies of {BODY_BYTES}")
    assert growth < GROWTH_BYTES_MAX
