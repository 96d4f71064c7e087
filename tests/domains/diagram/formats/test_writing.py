"""One function writes every format."""

import pytest

from dipeo_server.domains.diagram.formats.detect import FORMATS, detect_format
from dipeo_server.domains.diagram.formats.writing import write_diagram
from dipeo_server.domains.diagram.model import DomainDiagram, DomainNode
from dipeo_server.errors import InvalidInput

DIAGRAM = DomainDiagram(
    nodes=(DomainNode(key="A", id="node_0", type="start", label="A", props={}),), edges=()
)


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_written_says_its_format(format_: str) -> None:
    for name in (format_, format_.upper()):
        assert detect_format(write_diagram(DIAGRAM, name)) == format_


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(InvalidInput, match="'nativ' is no diagram format") as refusal:
        write_diagram(DIAGRAM, "nativ")
    assert refusal.value.hint == "Did you mean 'native'?"
