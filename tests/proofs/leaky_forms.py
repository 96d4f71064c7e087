"""Usual ways to write a text; quick to load, because code of diagrams loads it too."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "plain": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "in base64": lambda text: base64.b64encode(f"user:{text}!".encode()).decode(),
    "base64 for urls": lambda text: base64.urlsafe_b64encode(f"a{text}".encode()).decode(),
    "url": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "json": json.dumps,
    "json in json": lambda text: json.dumps(json.dumps({"password": text})),
    "python": repr,
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
}
