"""Principals: whoever an operation is carried out for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dipeo_server.domains.access.roles import Permission, Role

ANONYMOUS_NAME: Final = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who is known: `name` is the actor of everything that they do.

    `token_id` None: nobody was asked who they are, since the server asks nobody.
    """

    name: str
    role: Role
    is_approver: bool = False
    token_id: str | None = None

    @property
    def is_known(self) -> bool:
        """Have they proved who they are?"""
        return self.token_id is not None

    def may(self, permission: Permission) -> bool:
        """Do they have what is needed?"""
        is_enough = self.role.rank >= permission.role.rank
        return is_enough and (self.is_approver or not permission.needs_approver)


ANYBODY: Final = Principal(ANONYMOUS_NAME, Role.ADMIN, is_approver=True)
"""Whoever asks a server without authentication: everything may be done, by nobody in particular."""
