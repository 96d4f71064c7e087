"""How far the runs that a client follows have been told, for when it is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dipeo_server.domains.execution.ids import ExecutionID, Seq


@dataclass(slots=True)
class Place:
    """How far one follower of a run has been told."""

    execution_id: ExecutionID
    sequence: Seq


class Places:
    """The places of one connection."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}

    @contextmanager
    def following(self, execution_id: ExecutionID, after: Seq) -> Iterator[Place]:
        """The place in a run, as long as it is followed."""
        place = Place(execution_id, after)
        self._places[id(place)] = place
        try:
            yield place
        finally:
            del self._places[id(place)]

    def told(self, length_max: int) -> str:
        """`lastSequence=12` of one run, `lastSequence=ID:12,ID:7` of several, empty of none.

        As many as have room; a run that is followed twice where less of it has been told.
        """
        least: dict[ExecutionID, Seq] = {}
        for place in self._places.values():
            known = least.get(place.execution_id, place.sequence)
            least[place.execution_id] = min(known, place.sequence)
        if len(least) == 1:
            return f"lastSequence={min(least.values())}"
        text, separator = "", "lastSequence="
        for execution_id, sequence in least.items():
            more = f"{text}{separator}{execution_id}:{sequence}"
            if len(more) > length_max:
                break
            text, separator = more, ","
        return text
