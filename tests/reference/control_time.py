"""A run under control that is forked, and whose graph changes: the reference goes on."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from tests.reference.control_flow import FAILED, End, Plan, Turn, dead
from tests.reference.control_graph import Change, Numbers, form, inputs, reachable
from tests.reference.control_model import Control
from tests.reference.control_run import LIMIT, Node, Refused


@dataclass
class Timed(Control):
    """One run, and everything that it may be told; `document` has what no start leads to, too.

    `gone` are nodes that were taken out, with what they put out last.
    """

    document: Plan = field(init=False)
    revision: int = 0
    gone: dict[str, tuple[Node, End | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """As it is at first, everything is reached."""
        self.document = self.plan

    # --- checkpoints ----------------------------------------------------------------------------

    def save(self) -> None:
        """A checkpoint changes nothing."""
        if self.is_over:
            raise Refused("FINISHED")

    # --- other graphs ---------------------------------------------------------------------------

    def mutate(self, change: Change) -> None:
        """Go on with another graph."""
        self._change(change)
        self._settle()

    def _change(self, change: Change) -> None:
        self._check_alive()
        document = change.made_in(self.document)
        other = {key: n for key, n in change.limits.items() if self.limits.get(key, LIMIT) != n}
        if document == self.document and not other:
            return
        plan = reachable(document)
        for name in self.nodes:
            if self._is_open(name):
                self._check_visit(name, plan, is_other=name in other)
        self._check_loop(plan)
        self._move(document, plan)
        self.limits.update(other)
        self.revision += 1

    def _is_open(self, name: str) -> bool:
        """Has a visit begun that has not ended, or failed without anybody handling it?"""
        is_failure = self.ends.get(name) == dead(FAILED)
        return self._has_begun(name) or (is_failure and self.nodes[name].status == "FAILED")

    def _check_visit(self, name: str, plan: Plan, *, is_other: bool) -> None:
        wait = self.waiting.get(name)
        is_held = name in self.running or (wait is not None and wait.kind != "retry")
        if name not in plan.names or inputs(plan, name) != inputs(self.plan, name):
            raise Refused("STATE")
        if is_held and is_other:
            raise Refused("STATE")

    def _check_loop(self, plan: Plan) -> None:
        """A loop that has begun stays as it is; what ran does not become part of another one."""
        if self._has_loop_begun():
            if form(plan) != form(self.plan):
                raise Refused("STATE")
        elif any(self._has_run(name) for name in plan.loop):
            raise Refused("STATE")

    def _has_loop_begun(self) -> bool:
        return self.turn.number > 1 or any(self._has_run(name) for name in self.plan.loop)

    def _has_run(self, name: str) -> bool:
        """Has it run or been skipped in this turn, or is it under way?"""
        if name not in self.nodes:
            return False
        is_skipped = name in self.frozen or name in self.flow.skips
        return is_skipped or self._is_under_way(name)

    def _move(self, document: Plan, plan: Plan) -> None:
        """Everything by name; what was skipped stays so."""
        old, numbers, flow = self.plan, Numbers(self.plan, plan), self.flow
        for name, reason in flow.skips.items():
            self.frozen.setdefault(name, dead(reason))
            if not self.nodes[name].occurrence:
                self.nodes[name].status = "SKIPPED"
        self.turn = numbers.turn(self.turn) if self._has_loop_begun() else Turn()
        for name in self.document.names:
            if name not in document.names:
                self._forget(name)
        self.ends, self.frozen = numbers.ends(self.ends), numbers.ends(self.frozen)
        self.last = numbers.ends(self.last)
        for name in document.names:
            if name not in self.document.names:
                self._add(name)
            is_new, is_out = name not in old.names, name not in plan.names
            self._place(self.nodes[name], name, is_new=is_new, is_out=is_out)
        self.document, self.plan = document, plan

    def _forget(self, name: str) -> None:
        self.gone[name] = (self.nodes.pop(name), self.last.pop(name, None))
        for kept in (self.ends, self.frozen, self.initial):
            kept.pop(name, None)
        self.hits = {hit for hit in self.hits if hit[0] != name}

    def _add(self, name: str) -> None:
        """A node that comes back counts its visits on."""
        node, last = self.gone.pop(name, (Node(), None))
        self.limits.pop(name, None)
        self.nodes[name] = replace(node, tries=0) if node.occurrence else Node()
        if last is not None:
            self.last[name] = last

    def _place(self, node: Node, name: str, *, is_new: bool, is_out: bool) -> None:
        """What no start leads to is skipped, until one does."""
        is_fresh = not node.occurrence and name not in self.frozen and name not in self.ends
        if is_out and is_fresh:
            node.status = "SKIPPED"
        elif is_new and is_fresh:
            node.status = "PENDING"

    # --- forks ----------------------------------------------------------------------------------

    def fork(
        self,
        left: int,
        *,
        is_paused: bool,
        output: tuple[str, str] | None = None,
        change: Change | None = None,
    ) -> None:
        """Go on as another run, which was left at that time; a node may have another result."""
        if self.is_over or self.ending:
            raise Refused("INPUT")
        how = None if output is None else self._how_given(*output)
        was_ready = output is not None and output[0] in self.ready
        breaks, self.breaks = self.breaks, ()
        if self.is_paused:
            self._go("RUNNING")
        self.stepping, self.book = None, {}
        for name, wait in self.waiting.items():
            due = None if wait.due is None else wait.due + self.now - left
            self.waiting[name] = replace(wait, due=due)
        kept = {} if how != "end" or output is None else {output[0]: self.running.get(output[0])}
        self._interrupt_all_but(frozenset(kept))
        if output is not None:
            self._take(how, *output, was_ready=was_ready)
        self.breaks = breaks
        if is_paused:
            self._hold("start_paused")
        if change is not None:
            self._change(change)
        self._settle()

    def _interrupt_all_but(self, kept: frozenset[str]) -> None:
        spared = {name: visit for name, visit in self.running.items() if name in kept}
        self.running = {name: visit for name, visit in self.running.items() if name not in kept}
        self._interrupt()
        self.running.update(spared)

    def _how_given(self, name: str, port: str) -> str:
        """Does the visit end with the result, has it ended with another, or is it to come?"""
        if name not in self.nodes:
            raise Refused("INPUT")
        wait, last = self.waiting.get(name), self.last.get(name)
        if name in self.running or wait is not None or self.nodes[name].status == "FAILED":
            self._check_end(name)
            return "end"
        if last is not None and last not in (dead("by_user"), dead(FAILED)):
            if name[0] == "c" and last.ports != {port}:
                raise Refused("INPUT")
            return "instead"
        if name[0] == "g":
            raise Refused("INPUT")  # It does not say by which port.
        return "initial"

    def _check_end(self, name: str) -> None:
        try:
            copy.deepcopy(self).skip(name)
        except Refused as refusal:
            raise Refused("INPUT") from refusal

    def _take(self, how: str | None, name: str, port: str, *, was_ready: bool) -> None:
        if how == "end":
            if not was_ready and name not in self.running and name not in self.waiting:
                self._take_back(name, is_ended=True)
            self._give(name, port, was_ready=was_ready)
        elif how == "initial":
            self.initial[name] = port
