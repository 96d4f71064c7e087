"""Every setting of a server, read once: from the environment (`DIPEO_*`) or given as values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One server's settings; rooms receive plain values taken from here.

    `store` is `sqlite:PATH`, `memory:` or a bare path; None = `.dipeo/dipeo.db` under `base_dir`.
    """

    model_config = SettingsConfigDict(env_prefix="DIPEO_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on; loopback only.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 = a free one.")
    base_dir: Path = Field(Path(), description="Files of diagrams lie below this folder.")
    store: str | None = Field(None, description="Where executions are kept.")
    auth: Literal["none"] = Field("none", description="Who may do what.")
    secrets_file: Path | None = Field(
        None, description="Secrets by name, one `name: value` a line; only its owner may read it."
    )
    nodes_max: int = Field(256, ge=1, description="Handlers that run at once, over all runs.")
    code_jobs_max: int = Field(8, ge=1, description="Code processes that run at once.")

    @property
    def store_url(self) -> str:
        """The store to open, with its default filled in."""
        return self.store or f"sqlite:{self.base_dir / '.dipeo' / 'dipeo.db'}"
