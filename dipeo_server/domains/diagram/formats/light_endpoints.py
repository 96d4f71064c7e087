"""The ends of a light connection: `Label`, `Label[handle]`, and the older `Label_handle`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ENDPOINT_CHARACTERS_MAX = 1_000

_BRACKETED: Final = re.compile(r"(.*)\[([^\[\]]*)\]\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node and, if one was written, a handle. `is_strict`: in brackets, so it must exist."""

    label: str
    handle: str | None = None
    is_strict: bool = False


class Labels:
    """All labels of a document, to find the one that an endpoint text means."""

    def __init__(self, labels: Iterable[str]) -> None:
        self.every = tuple(labels)
        self._spellings = {label.replace(" ", "_"): label for label in reversed(self.every)}
        self._spellings |= {label: label for label in self.every}
        self._longest = max(map(len, self.every), default=0)

    def find(self, text: str) -> Endpoint | None:
        """What the text means; None if no label fits.

        A label that reads exactly so wins, then brackets, then the longest label that the text
        begins with (spaces may be written as underscores).
        """
        if text in self._spellings:
            return Endpoint(self._spellings[text])
        stripped = text.strip()
        if stripped in self._spellings:
            return Endpoint(self._spellings[stripped])
        if len(text) > ENDPOINT_CHARACTERS_MAX:
            return None
        return self._bracketed(text) or self._legacy(stripped)

    def _bracketed(self, text: str) -> Endpoint | None:
        match = _BRACKETED.fullmatch(text)
        if match is None:
            return None
        written = match.group(1)
        label = self._spellings.get(written) or self._spellings.get(written.strip())
        return None if label is None else Endpoint(label, match.group(2).strip(), is_strict=True)

    def _legacy(self, text: str) -> Endpoint | None:
        end = min(len(text), self._longest + 1)
        while (end := text.rfind("_", 0, end)) > 0:
            label = self._spellings.get(text[:end])
            if label is not None:
                return Endpoint(label, text[end:].strip("_") or None)
        return None
