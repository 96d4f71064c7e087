"""Every setting of a server, read once: from the environment (`DIPEO_*`) or given as values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dipeo_server.api.context import ApiLimits

Names = Annotated[frozenset[str], NoDecode]
"""In the environment: words with commas between them."""


class Settings(BaseSettings):
    """One server's settings; rooms receive plain values taken from here.

    `store` is `sqlite:PATH`, `memory:` or a bare path; None = `.dipeo/dipeo.db` under `base_dir`.
    A limit is set by its name: `DIPEO_LIMITS__OPERATION_SECONDS=60`.
    """

    model_config = SettingsConfigDict(
        env_prefix="DIPEO_", env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    host: str = Field("127.0.0.1", description="Address to listen on; without auth loopback only.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 = a free one.")
    base_dir: Path = Field(Path(), description="Files of diagrams lie below this folder.")
    store: str | None = Field(None, description="Where executions are kept.")
    auth: Literal["none", "token"] = Field(
        "none", description="token: whoever has one, by its role; none: anybody on this machine."
    )
    allowed_hosts: Names = Field(
        frozenset(), description="Names that clients may call it by, beside those of loopback."
    )
    allowed_origins: Names = Field(
        frozenset(), description="Origins of pages that may talk to it, beside its own."
    )
    starters_approve: bool = Field(
        default=True, description="May whoever started a run decide its barriers?"
    )
    log_format: Literal["json", "console"] | None = Field(
        None, description="json: an object a line; console: for people; null: as fits stderr."
    )
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

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        words = given.split(",") if isinstance(given, str) else given
        return frozenset(word.strip().lower() for word in words if word.strip())

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: frozenset[str]) -> frozenset[str]:
        for host in hosts:
            named = host if host == "*" else urlsplit(f"//{host}").hostname
            if named != host.strip("[]") or any(map(str.isspace, host)):
                raise ValueError(f"{host!r} is not the name of a host (without a port), nor *")
        return hosts

    @field_validator("allowed_origins")
    @classmethod
    def _origins_are_whole(cls, origins: frozenset[str]) -> frozenset[str]:
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin, such as https://diagrams.example.org")
        return origins

    @property
    def store_url(self) -> str:
        """The store to open, with its default filled in."""
        return self.store or f"sqlite:{self.base_dir / '.dipeo' / 'dipeo.db'}"
