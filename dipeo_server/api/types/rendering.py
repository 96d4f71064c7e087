"""Pictures as clients get them: text as it is, and pixels in base64."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Annotated, TypeAlias

import strawberry

from dipeo_server.api.context import OperationContext
from dipeo_server.api.types.enums import describe
from dipeo_server.domains.diagram.rendering.picture import Picture, RenderFormat
from dipeo_server.domains.diagram.rendering.renderer import IMAGES, text_of
from dipeo_server.errors import LimitExceeded

describe(
    RenderFormat,
    "What a picture is drawn as.",
    {
        RenderFormat.DOT: "The language of Graphviz, as text.",
        RenderFormat.MERMAID: "A Mermaid flowchart, as text.",
        RenderFormat.SVG: "An `svg` element, as text; needs Graphviz on the server.",
        RenderFormat.PNG: "A PNG image in base64; needs Graphviz on the server.",
    },
)

DrawnAs: TypeAlias = Annotated[
    RenderFormat, strawberry.argument(description="As what it is drawn.")
]


async def rendered(
    compose: Callable[[], Picture], format_: RenderFormat, context: OperationContext
) -> str:
    """What `compose` gives, in that format; beside the event loop, since it may take a while.

    Raises LimitExceeded; RendererMissing, PictureTooLarge, RenderFailed for an image.
    """
    limit = context.services.limits.pictures
    context.pictures += 1
    if context.pictures > limit:
        raise LimitExceeded(f"An operation may draw at most {limit} pictures.")
    text = await asyncio.to_thread(lambda: text_of(compose(), format_))
    if format_ not in IMAGES:
        return text
    image = await context.services.renderer.draw(text, IMAGES[format_])
    return base64.b64encode(image).decode() if format_ is RenderFormat.PNG else image.decode()
