"""Roles and permissions, and what an operation needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUTHOR = "author"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Its place, from 0."""
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Permission:
    """What one needs: at least this role, and where `needs_approver` is set to be an approver."""

    role: Role
    needs_approver: bool = False

    def joined(self, other: Permission) -> Permission:
        """What one needs for both."""
        role = max(self.role, other.role, key=lambda role: role.rank)
        return Permission(role, self.needs_approver or other.needs_approver)

    def __str__(self) -> str:
        """As people read it."""
        if not self.needs_approver:
            return f"the role {self.role}"
        is_any = self.role is Role.VIEWER
        return "an approver" if is_any else f"the role {self.role}, as an approver"
