"""What a diagram is: the model, its formats, its rules, and its compiled form."""

from __future__ import annotations

from dipeo_server.domains.diagram.executable import AfterCrash, ExecutableDiagram, ExecutableNode
from dipeo_server.domains.diagram.model import DomainDiagram, DomainEdge, DomainNode, DomainPerson
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.diagram.spec import NodeProps, NodeSpec, Ports

__all__ = [
    "AfterCrash",
    "DiagramInvalid",
    "DiagramProblem",
    "DomainDiagram",
    "DomainEdge",
    "DomainNode",
    "DomainPerson",
    "ExecutableDiagram",
    "ExecutableNode",
    "NodeProps",
    "NodeSpec",
    "Ports",
    "Severity",
]
