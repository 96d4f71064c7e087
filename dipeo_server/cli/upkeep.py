"""`verify`, `prune` and `backup`: what keeps a store healthy, told to people and to programs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from dipeo_server.cli.outcome import ExitCode, Unusable, tell, tell_error
from dipeo_server.cli.report import write_json
from dipeo_server.cli.server_settings import settings_from
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.storage.backup import DamagedCopy, back_up
from dipeo_server.storage.inspection import NoStore
from dipeo_server.storage.log_verification import Damage
from dipeo_server.storage.opening import store_path
from dipeo_server.storage.pruning import ENDED, Choice, Pruned, prune_store
from dipeo_server.storage.verification import Verdict, verify_store

_AGE: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """The options of `prune`, as they were given."""

    older_than: str
    status: str | None
    is_dry_run: bool
    is_compacting: bool
    as_json: bool


def verify(store: str | None, base_dir: Path | None, *, as_json: bool) -> ExitCode:
    """Tell all damage of a store. Raises Unusable where there is none."""
    path = _path(store, base_dir)
    with _usable(), _Ticker() as ticker:
        verdict = verify_store(path, ticker.tell)
    if as_json:
        write_json(_document(verdict))
    else:
        _print_damage(verdict.damage)
    tell(f"{_counted(verdict)} verified: {len(verdict.damage) or 'no'} damage found in {path}.")
    return ExitCode.COMPLETED if verdict.is_sound else ExitCode.FAILED


def prune(store: str | None, base_dir: Path | None, options: PruneOptions) -> ExitCode:
    """Delete old executions. Raises Unusable, StoreLocked, StorageError."""
    path = _path(store, base_dir)
    now = datetime.now(UTC)
    choice = Choice(
        _before(options.older_than, now),
        _statuses(options.status),
        is_dry_run=options.is_dry_run,
        is_compacting=options.is_compacting,
    )
    with _usable(), _Ticker() as ticker:
        pruned = prune_store(
            path, choice, now=now, tell=lambda done, total: ticker.tell("pruned", done, total)
        )
    if options.as_json:
        write_json(_camel(asdict(pruned)) | {"isDryRun": options.is_dry_run})
    else:
        _tell_pruned(pruned, is_dry_run=options.is_dry_run)
    return ExitCode.COMPLETED


def backup(target: Path, store: str | None, base_dir: Path | None) -> ExitCode:
    """Copy a store. Raises Unusable, InvalidInput, StorageError."""
    path = _path(store, base_dir)
    try:
        with _usable(), _Ticker() as ticker:
            verdict = back_up(path, target, ticker.tell)
    except DamagedCopy as error:
        _print_damage(error.verdict.damage)
        tell_error(error)
        return ExitCode.FAILED
    tell(f"{_counted(verdict)} copied to {target} and verified.")
    return ExitCode.COMPLETED


def _path(store: str | None, base_dir: Path | None) -> Path:
    return store_path(settings_from(store=store, base_dir=base_dir).store_url)


@contextmanager
def _usable() -> Iterator[None]:
    """Where there is no store, the command was used wrongly."""
    try:
        yield
    except NoStore as error:
        raise Unusable(error.message, hint=error.hint) from error


def _before(text: str, now: datetime) -> datetime:
    """How long ago `30d` is. Raises Unusable."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        message = f"--older-than cannot be {text!r}."
        raise Unusable(message, hint="Write a number and s, m, h, d or w: 12h, 30d, 8w.")
    try:
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError as error:
        raise Unusable(f"--older-than {text} is before all time.") from error


def _statuses(text: str | None) -> frozenset[ExecutionStatus]:
    """`completed,failed` as statuses. Raises Unusable."""
    if text is None:
        return ENDED
    words = {word.strip().upper() for word in text.split(",")}
    unknown = sorted(words - {status.value for status in ENDED})
    if unknown:
        names = ", ".join(sorted(status.value.lower() for status in ENDED))
        message = f"--status cannot be {unknown[0].lower()!r}."
        raise Unusable(message, hint=f"Only what has ended can be pruned: {names}.")
    return frozenset(map(ExecutionStatus, words))


def _print_damage(damage: Sequence[Damage]) -> None:
    sys.stdout.writelines(f"{found.message}\n" for found in damage)


def _counted(verdict: Verdict) -> str:
    return (
        f"{verdict.executions:,} executions, {verdict.events:,} events and {verdict.blobs:,} blobs"
    )


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "isSound": verdict.is_sound,
        "executions": verdict.executions,
        "events": verdict.events,
        "blobs": verdict.blobs,
        "damage": [
            {
                "executionId": found.execution_id,
                "sequence": None if found.seq is None else str(found.seq),
                "message": found.message,
            }
            for found in verdict.damage
        ],
    }


def _tell_pruned(pruned: Pruned, *, is_dry_run: bool) -> None:
    what = "would be deleted" if is_dry_run else "deleted"
    tell(
        f"{pruned.executions:,} executions with {pruned.events:,} events and {pruned.blobs:,} "
        f"blobs ({_size(pruned.blob_bytes)}) {what}."
    )
    if pruned.kept:
        tell(f"{pruned.kept:,} were kept: something below them still runs.")
    if pruned.forked:
        tell(f"{pruned.forked:,} were kept: forks that are not old enough go on from them.")
    if pruned.free_bytes:
        tell(
            f"{_size(pruned.free_bytes)} in the file are free for new runs; "
            "--compact gives them back to the disk."
        )


def _size(count: int) -> str:
    return f"{count / 1024 / 1024:.1f} MiB"


def _camel(names: dict[str, Any]) -> dict[str, Any]:
    return {
        re.sub(r"_(\w)", lambda match: match[1].upper(), name): value
        for name, value in names.items()
    }


class _Ticker:
    """A line on a terminal that is written over; nothing elsewhere."""

    SECONDS: Final = 0.1

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def tell(self, what: str, done: int, total: int) -> None:
        """So many of so many are done; 0 of 0 = that is not known."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.SECONDS
            self._write(f"{what} {done:,} of {total:,}" if total else f"{what} …")

    def _write(self, text: str) -> None:
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
