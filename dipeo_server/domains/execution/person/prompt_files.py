"""Where the files lie that a person's prompts and answer formats are read from."""

from __future__ import annotations

from dipeo_server.domains.execution.ports import Files
from dipeo_server.errors import FileMissing


async def read_prompt_file(
    files: Files, name: str, *, diagram_path: str | None, what: str = "prompt file"
) -> str:
    """The text of the first file of that name that exists.

    Names below `projects/` and `files/`, and absolute ones, are tried as they are; then come the
    diagram's folder, its `prompts` folder, and `files/prompts`; then any name as it is. Raises
    FileMissing with every place tried, PathDenied for a name that leaves the base directory.
    """
    places = prompt_file_places(name, diagram_path=diagram_path)
    for place in places:
        if await files.exists(place):
            return await files.read_text(place)
    tried = ", ".join(places)
    raise FileMissing(
        f"The {what} {name!r} was not found. Tried: {tried}.",
        hint="Paths are relative to the base directory, or to the diagram's folder.",
    )


def prompt_file_places(name: str, *, diagram_path: str | None) -> tuple[str, ...]:
    """Paths to try, relative to the base directory, the first that exists wins."""
    folder = (diagram_path or "").rpartition("/")[0]
    local = f"{folder}/" if folder else ""
    around = [f"{local}{name}", f"{local}prompts/{name}", f"files/prompts/{name}"]
    if name.startswith("/"):
        return (name,)
    is_from_base = name.startswith(("projects/", "files/"))
    return tuple(dict.fromkeys([name, *around] if is_from_base else [*around, name]))
