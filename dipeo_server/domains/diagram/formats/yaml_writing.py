"""What the writers of the two YAML formats share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from dipeo_server.domains.diagram.formats.extras import EXTRA
from dipeo_server.domains.diagram.formats.json_values import check_levels
from dipeo_server.domains.diagram.formats.light_nodes import NODE_FIELDS
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode

_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_DUMPER):  # type: ignore[misc]  # the C class where there is one
    """Long texts as blocks, nothing as an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_text)


def yaml_text(document: Mapping[str, Any]) -> str:
    """The document as text. Raises InvalidInput if it is nested too deeply to be read."""
    check_levels(document)
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def heading(diagram: DomainDiagram) -> dict[str, Any]:
    """Name and description, where there are any."""
    fields = {"name": diagram.name, "description": diagram.description}
    return {name: value for name, value in fields.items() if value is not None}


def own_id(index: int, node: DomainNode[Mapping[str, Any]]) -> dict[str, Any]:
    """The id of the node at that place, unless a reader gives it that one anyway."""
    return {} if node.id == f"node_{index}" else {"id": node.id}


def bags(node: DomainNode[Mapping[str, Any]], props: Mapping[str, Any]) -> dict[str, Any]:
    """Unknown fields, props that need a bag because of their names, and all other props."""
    hidden = {name: value for name, value in props.items() if name in NODE_FIELDS}
    extra: dict[str, Any] = {EXTRA: dict(node.extra)} if node.extra else {}
    direct = {name: value for name, value in props.items() if name not in hidden}
    return extra | ({"props": hidden} if hidden else {}) | direct
