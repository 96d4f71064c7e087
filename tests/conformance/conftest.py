"""What the suites of the protocols share with those of the API: a server that is running."""

from tests.api.conftest import live, shared

__all__ = ["live", "shared"]
