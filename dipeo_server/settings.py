"""Every setting of a server, read once: from the environment (`DIPEO_*`) or given as values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dipeo_server.api.context import ApiLimits


class Settings(BaseSettings):
    """One server's settings; rooms receive plain values taken from here.

    `store` is `sqlite:PATH`, `memory:` or a bare path; None = `.dipeo/dipeo.db` under `base_dir`.
    A limit is set by its name: `DIPEO_LIMITS__OPERATION_SECONDS=60`.
    """

    model_config = SettingsConfigDict(
        env_prefix="DIPEO_", env_nested_delimiter="__", frozen=True, extra="ignore"
    )

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
    limits: ApiLimits = Field(ApiLimits(), description="What one request may ask for.")
    trusted_documents: Path | None = Field(
        None, description="GraphQL documents by id, as JSON; if given, no others may be run."
    )

    @field_validator("limits")
    @classmethod
    def _limits_are_no_less_than_nothing(cls, limits: ApiLimits) -> ApiLimits:
        for name, limit in asdict(limits).items():
            if not limit >= 0:
                raise ValueError(f"{name} is {limit}, which is less than 0")
        return limits

    @property
    def store_url(self) -> str:
        """The store to open, with its default filled in."""
        return self.store or f"sqlite:{self.base_dir / '.dipeo' / 'dipeo.db'}"
