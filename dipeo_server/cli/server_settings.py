"""Settings of a server from the command line and the environment."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dipeo_server.cli.outcome import Unusable
from dipeo_server.settings import Settings


def settings_from(**given: Any) -> Settings:
    """What was given wins over `DIPEO_*`; None means not given. Raises Unusable."""
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        variable = "__".join(str(part) for part in first["loc"]).upper()
        message = f"The setting {name} cannot be {first['input']!r}: {first['msg']}."
        raise Unusable(message, hint=f"It comes from DIPEO_{variable} or an option.") from error
    if not settings.base_dir.is_dir():
        raise Unusable(f"There is no folder {settings.base_dir} (--base-dir).")
    return settings
