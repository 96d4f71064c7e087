"""Secrets of a server: from its environment and a file only its user may read, by name."""

from __future__ import annotations

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dipeo_server.domains.execution.documents import DocumentError, parse
from dipeo_server.domains.execution.events import ExecutionStarted
from dipeo_server.domains.execution.ids import ExecutionID
from dipeo_server.domains.execution.ports import Secrets, StateStore
from dipeo_server.domains.execution.secret_references import (
    SecretText,
    filled,
    references_in,
    with_values,
)
from dipeo_server.errors import InvalidInput, SecretMissing
from dipeo_server.runtime.redaction import Redactor

VARIABLE_PREFIX: Final = "DIPEO_SECRET_"
FILE_BYTES_MAX: Final = 1024 * 1024
GRANTS_MAX: Final = 1_024
NO_REFERENCES: Final[frozenset[str]] = frozenset()
_FORM: Final = "Write one `name: value` a line; quote what is not plainly text."


class SecretKeeper:
    """The values of secrets by name, and the redactor that knows them all.

    Names differ in letters and digits only: `sudo-password` is SUDO_PASSWORD. Of several sources
    the first that has a name counts. A value is shown to whoever asks by name, and to nobody else.
    """

    def __init__(self, *sources: Mapping[str, str]) -> None:
        self.redactor = Redactor()
        self._texts: dict[str, SecretText] = {}
        for source in sources:
            for name, text in source.items():
                self._texts.setdefault(_spelled(name), SecretText(text))
                self.redactor.learn(name, text)

    def value(self, name: str) -> str:
        """The secret's value. Raises SecretMissing."""
        text = self._texts.get(_spelled(name))
        if text is None:
            variable = f"{VARIABLE_PREFIX}{_spelled(name).upper()}"
            hint = (
                f"Start the server with {variable} in its environment, or add `{name}: …` to the "
                "file that DIPEO_SECRETS_FILE names."
            )
            raise SecretMissing(f"There is no secret {name!r} (secret://{name}).", hint=hint)
        return text.reveal()

    def of_environment(self) -> dict[str, str]:
        """Every secret as the environment variable that it could have been given by."""
        return {
            f"{VARIABLE_PREFIX}{name.upper()}": text.reveal() for name, text in self._texts.items()
        }


def secrets_from(environ: Mapping[str, str], file: Path | None) -> SecretKeeper:
    """The secrets of environment variables `DIPEO_SECRET_<NAME>`, and of a file.

    An empty variable counts as unset. Raises InvalidInput for a file that others may read, or that
    is no map from names to texts.
    """
    given = {
        name.removeprefix(VARIABLE_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(VARIABLE_PREFIX) and value.strip()
    }
    keeper = SecretKeeper(given, {} if file is None else read_secrets_file(file))
    default_key = environ.get("DIPEO_LLM_API_KEY", "").strip()
    if default_key:
        keeper.redactor.learn("DIPEO_LLM_API_KEY", default_key)
    return keeper


def read_secrets_file(path: Path) -> dict[str, str]:
    """Names and values of a YAML or JSON file. Raises InvalidInput, never quoting from the file."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            _check_private(path, found)
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise _wrong(path, f"is larger than {FILE_BYTES_MAX:,} bytes")
    try:
        document = parse(data.decode(), "yaml", name="secrets")
    except (UnicodeDecodeError, DocumentError):
        # What the reader says would show a piece of the file.
        raise _wrong(path, "is no YAML", hint=_FORM) from None
    if not isinstance(document, Mapping):
        raise _wrong(path, "is no map of names to texts", hint=_FORM)
    for name, value in document.items():
        if not isinstance(value, str) or not value:
            raise _wrong(path, f"has no text for {name!r}", hint=_FORM)
    return dict(document)


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _wrong(path, "is no file")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o177:
        what = f"has the mode {mode:04o}: only its owner may read and write it"
        raise _wrong(path, what, hint=f"Run: chmod 600 {path}")
    if found.st_uid not in {os.geteuid(), 0}:
        raise _wrong(path, "belongs to another user", hint="It must be the server's user's own.")


def _wrong(path: Path, what: str, *, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"The secrets file {path} {what}.", field=("secrets_file",), hint=hint)


class SecretGrants:
    """Which secrets the variables of a run may refer to: those that its start named.

    What nodes, models or people put into variables later is data, even if it reads like a
    reference; a child's variables are data too, but for what its parents were granted.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._known: OrderedDict[ExecutionID, frozenset[str]] = OrderedDict()

    async def of(self, execution_id: ExecutionID) -> frozenset[str]:
        """Names of secrets. Raises StorageError."""
        known = self._known.get(execution_id)
        if known is None:
            known = await self._read(execution_id)
            self._known[execution_id] = known
            while len(self._known) > GRANTS_MAX:
                self._known.popitem(last=False)
        return known

    async def _read(self, execution_id: ExecutionID) -> frozenset[str]:
        for recorded in await self._store.read(execution_id, limit=1):
            started = recorded.event
            if isinstance(started, ExecutionStarted):
                named = frozenset(references_in(started.variables))
                if named and started.parent_id is not None:
                    named &= await self.of(started.parent_id)
                return named
        return NO_REFERENCES


class RunSecrets(Secrets):
    """What one run may know; the port that handlers use."""

    def __init__(
        self, keeper: SecretKeeper, grants: SecretGrants, execution_id: ExecutionID
    ) -> None:
        self._keeper = keeper
        self._grants = grants
        self._id = execution_id

    async def fill(self, text: str) -> SecretText:
        """The text with every reference in it replaced. Raises SecretMissing."""
        return filled(text, self._keeper.value)

    async def fill_variables(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The variables, with values for what the run was started with. Raises SecretMissing."""
        if next(references_in(variables), None) is None:
            return variables
        granted = await self._grants.of(self._id)
        found: Mapping[str, Any] = with_values(variables, self._keeper.value, granted)
        return found


def _spelled(name: str) -> str:
    """One spelling of a name: environment variables know capitals, digits and `_` only."""
    return re.sub(r"[^a-z0-9]", "_", name.strip().lower())
