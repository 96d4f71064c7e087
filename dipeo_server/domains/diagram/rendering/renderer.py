"""From a picture to text, and from text to an image by the port to a program that draws."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from dipeo_server.domains.diagram.rendering.dot import to_dot
from dipeo_server.domains.diagram.rendering.mermaid import to_mermaid
from dipeo_server.domains.diagram.rendering.picture import Picture, RenderFormat
from dipeo_server.errors import DipeoError, LimitExceeded, Unavailable


class ImageFormat(StrEnum):
    """What an image consists of: XML, or pixels."""

    SVG = "svg"
    PNG = "png"


IMAGES: Final = {RenderFormat.SVG: ImageFormat.SVG, RenderFormat.PNG: ImageFormat.PNG}
"""Formats that a `Renderer` makes of the text; the others are the text itself."""


def text_of(picture: Picture, format_: RenderFormat) -> str:
    """The picture as text: Mermaid where that is wanted, else DOT."""
    return to_mermaid(picture) if format_ is RenderFormat.MERMAID else to_dot(picture)


class Renderer(Protocol):
    """Draws graphs."""

    async def draw(self, dot: str, format_: ImageFormat) -> bytes:
        """The image of a DOT graph; an SVG image is UTF-8 and begins with its `svg` element.

        It has no scripts, no links, and nothing that is loaded from elsewhere. Raises
        RendererMissing, PictureTooLarge, RenderFailed. Cancelling it stops the drawing.
        """
        ...


class RendererMissing(Unavailable):
    """The program that draws is not installed."""

    code = "RENDERER_MISSING"
    default_hint = (
        "Install Graphviz (on Debian: apt install graphviz), or ask for DOT or Mermaid text, "
        "which needs no other program."
    )


class PictureTooLarge(LimitExceeded):
    """Drawing takes longer, or gives more, than is allowed."""

    default_hint = "Ask for DOT or Mermaid text, and draw it elsewhere."


class RenderFailed(DipeoError):
    """The program that draws gave no usable image."""

    code = "RENDER_FAILED"
