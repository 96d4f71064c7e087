"""What a run may do when people and limits hold it: a reference, written from the semantics alone.

It is told the same signals as the machine, and refuses, starts, holds and ends as that must. The
order among equals is left open: where one of several may be chosen, `chosen` says which was.
"""

from __future__ import annotations

from dataclasses import replace

from tests.reference.control_flow import FAILED, End, Flow, dead, fired
from tests.reference.control_run import DEFAULT, OUTCOMES, Early, Node, Refused, Run, Visit, Wait


class Control(Run):
    """One run, and everything that it may be told; times are whole seconds since its start."""

    # --- what people want -------------------------------------------------------------------------

    def start(self, *, is_paused: bool) -> None:
        """It begins."""
        self.nodes = {name: Node() for name in self.plan.names}
        if is_paused:
            self._hold("start_paused")
        self._settle()

    def pause(self, *, is_now: bool) -> None:
        """Nothing new starts; with NOW, what runs is stopped as a crash would stop it."""
        self._check_alive()
        is_new = not self.is_paused
        if is_new:
            self._hold("user")
        if is_now:
            stopped = list(self.running.values())
            self._interrupt()
            is_new = is_new or bool(stopped)
        if is_new:
            self._settle()

    def resume(self, max_steps: int | None = None, max_tokens: int | None = None) -> None:
        """Go on, perhaps with larger limits."""
        self._check_alive()
        if not self.is_paused:
            raise Refused("STATE")
        limit = max_steps or self.max_steps
        tokens = max_tokens or self.max_tokens
        if limit <= self.steps or (tokens is not None and tokens <= self.used):
            raise Refused("INPUT")
        self.max_steps, self.max_tokens = limit, tokens
        self._go("RUNNING")
        self._settle()

    def step(self, name: str | None = None) -> None:
        """One visit runs: the named one, or one of those that are ready, or a retry that waits."""
        self._check_alive()
        if not self.is_paused or self._limit():
            raise Refused("STATE")
        retries = {key for key, wait in self.waiting.items() if wait.kind == "retry"}
        if name is None:
            first = [key for key in self.chosen if key in (self.ready or retries)]
            if not self.ready | retries:
                raise Refused("STATE")
            name = first[0] if first else min(self.ready or retries)
        self._check_known(name)
        if name not in self.ready | retries:
            raise Refused("INPUT")
        visit = self.waiting[name].visit if name in retries else self.next_visit(name)
        self._go("RUNNING", step=visit)
        if name in retries:
            self._begin(name, visit)
        self._settle()

    def abort(self) -> None:
        """It ends, whatever else is wanted."""
        if self.status == "ABORTED":
            return
        if self.is_over:
            raise Refused("FINISHED")
        self.ending = "abort"
        self._settle()

    def set_breaks(self, breaks: tuple[tuple[str, str], ...]) -> None:
        """These breakpoints, and no others."""
        if self.is_over:
            raise Refused("FINISHED")
        for name, _ in breaks:
            self._check_known(name)
        if tuple(dict.fromkeys(breaks)) != self.breaks:
            self.breaks = tuple(dict.fromkeys(breaks))
            self._settle()

    def _check_alive(self) -> None:
        if self.is_over:
            raise Refused("FINISHED")
        if self.ending:
            raise Refused("STATE")

    def _check_steerable(self, name: str) -> None:
        if self.is_over:
            raise Refused("FINISHED")
        self._check_known(name)
        self._check_alive()

    def _check_known(self, name: str) -> None:
        if name not in self.nodes:
            raise Refused("NOT_FOUND")

    # --- decisions --------------------------------------------------------------------------------

    def decide(self, visit: Visit, action: str, reroute: str | None = None) -> None:
        """Somebody decides what waits; the first one wins."""
        if visit not in self.barriers:
            raise Refused("NOT_FOUND")
        if self.barriers[visit] != "WAITING":
            raise Refused("DECIDED")
        self._check_alive()
        if self.waiting[visit[0]].kind == "rerun":
            if action in {"SKIP", "REROUTE"}:
                raise Refused("INPUT")
            self._decide_rerun(visit, action)
        else:
            self._check_action(visit[0], action, reroute)
            self._decide(visit, action, reroute)
        self._settle()

    def _check_action(self, name: str, action: str, reroute: str | None) -> None:
        if action == "REROUTE" and len(self._leading(name, reroute)) != 1:
            raise Refused("INPUT")

    def _decide_rerun(self, visit: Visit, action: str) -> None:
        name = visit[0]
        self.barriers[visit] = OUTCOMES[action][0]
        if action == "APPROVE":
            del self.waiting[name]
            self.nodes[name].status = "PENDING"
        elif action == "MODIFY":
            self._end(name, DEFAULT)
        else:
            self._fail(name)

    def decide_early(self, early: Early) -> None:
        """Somebody decides ahead of time; what waits already is decided at once."""
        self._check_alive()
        self._check_known(early.node)
        is_exact = early.occurrence is not None
        is_late = early.expires is not None and early.expires <= self.now
        if early.node[0] != "g" or (is_exact and early.uses not in (None, 1)) or is_late:
            raise Refused("INPUT")
        self._check_action(early.node, early.action, early.reroute)
        if early.occurrence is not None:
            self._check_open(early.node, early.occurrence)
        self.made += 1
        uses = 1 if is_exact else early.uses
        self.book[self.made] = replace(early, number=self.made, uses=uses)
        self._settle()

    def _check_open(self, name: str, occurrence: int) -> None:
        """Is that visit still to be decided?"""
        node = self.nodes[name]
        is_open = node.status in {"PENDING", "RUNNING", "WAITING"}
        if occurrence < node.occurrence or (occurrence == node.occurrence and not is_open):
            asked = any(visit[:2] == (name, occurrence) for visit in self.barriers)
            raise Refused("DECIDED" if asked else "STATE")
        if any((e.node, e.occurrence) == (name, occurrence) for e in self._fresh()):
            raise Refused("DECIDED")

    def revoke(self, number: int) -> None:
        """A decision that was made ahead of time is taken back."""
        if self.is_over:
            raise Refused("FINISHED")
        if number not in self.book:
            raise Refused("STATE" if 1 <= number <= self.made else "NOT_FOUND")
        del self.book[number]
        self._settle()

    # --- by hand ----------------------------------------------------------------------------------

    def retry(self, name: str) -> None:
        """A failed node runs again, and what was skipped for it is open again."""
        self._check_steerable(name)
        wait, node = self.waiting.get(name), self.nodes[name]
        if wait is not None and wait.kind == "retry":
            self.waiting[name] = replace(wait, due=self.now)
        else:
            self._take_back(name)
            visit = (name, node.occurrence, node.attempt + 1)
            self._wait(Wait(visit, "retry", self.now))
        self._settle()

    def skip(self, name: str) -> None:
        """The visit is over without a result, or the node does not run in this turn."""
        self._steer(name)
        before, node = self.last.get(name), self.nodes[name]
        is_visit = self._has_begun(name)
        status = "SKIPPED" if is_visit or not node.occurrence else node.status
        self._end(name, dead("by_user"), "SKIPPED")
        node.status = status
        if not is_visit and before is not None:
            self.last[name] = before  # It had put that in a visit, and this was none.
        self._settle()

    def give(self, name: str, *ports: str) -> None:
        """The visit has this result."""
        was_ready = self._steer(name)
        self._give(name, *ports, was_ready=was_ready)
        self._settle()

    def _give(self, name: str, *ports: str, was_ready: bool) -> None:
        node = self.nodes[name]
        self.initial.pop(name, None)
        if not self._has_begun(name):
            self._count_visit(name)
        if was_ready:
            _, node.occurrence, node.attempt = self.next_visit(name)
        elif name in self.waiting:
            node.attempt = self.waiting[name].visit[2]
        self._end(name, fired(*ports))

    def _steer(self, name: str) -> bool:
        """May somebody end the visit? Was it ready? A failure is taken back first."""
        self._check_steerable(name)
        wait = self.waiting.get(name)
        if wait is not None and wait.is_person:
            raise Refused("STATE")
        if name in self.ready:
            return True
        if name not in self.running and wait is None:
            self._take_back(name, is_ended=True)
        return False

    def _take_back(self, name: str, *, is_ended: bool = False) -> None:
        """Undo a failure, unless something has gone on that would not have without it."""
        node = self.nodes[name]
        failure = (name, node.occurrence)
        is_failed = self.ends.get(name) == dead(FAILED) and failure in self.failed
        if node.status != "FAILED" or not is_failed:
            raise Refused("STATE")
        left = {key: end for key, end in self.ends.items() if key != name}
        frozen = self._frozen_without(name)
        flow = Flow(self.plan, {**frozen, **left}, self.turn)
        others = {key for key in self.nodes if key != name and self._is_under_way(key)}
        if not all(flow.supports(key) for key in others):
            raise Refused("STATE")
        skipped = self.flow.skips.keys() | self.frozen.keys()
        for key in skipped - flow.skips.keys() - frozen.keys():
            if not self.nodes[key].occurrence:
                self.nodes[key].status = "PENDING"
        self.ends, self.frozen = left, frozen
        self.failed.remove(failure)
        if is_ended:
            node.status = "RUNNING"

    def _frozen_without(self, name: str) -> dict[str, End]:
        """What stays skipped if that failure is taken back: what it did not lead to."""
        frozen, behind = dict(self.frozen), [name]
        while behind:
            for edge in self.plan.out_of(behind.pop()):
                target = self.plan.edges[edge][2]
                if frozen.pop(target, None) is not None:
                    behind.append(target)
        return frozen

    def _is_under_way(self, name: str) -> bool:
        return name in self.ends or self._has_begun(name)

    def _has_begun(self, name: str) -> bool:
        """Is there a visit of it that has begun and has not ended?"""
        node = self.nodes[name]
        is_stopped = node.status == "PENDING" and node.occurrence > 0
        return node.status in {"RUNNING", "WAITING"} or is_stopped

    # --- what nodes and clocks tell ---------------------------------------------------------------

    def returns(self, name: str, end: End = DEFAULT, tokens: int = 0) -> None:
        """A handler came back; nobody wants that any more if the run is ending."""
        if self.ending:
            self.stops(name)
            return
        self.used += tokens
        self._end(name, end)
        self._settle()

    def waits(self, name: str, kind: str, seconds: int | None) -> None:
        """A handler wants its visit to wait."""
        if self.ending:
            self.stops(name)
            return
        visit = self.running[name]
        self._wait(Wait(visit, kind, None if seconds is None else self.now + seconds))
        self._settle()

    def raises(self, name: str, *, is_retryable: bool) -> None:
        """A handler failed."""
        if self.ending:
            self.stops(name)
            return
        self._fail(name, is_retryable=is_retryable, is_own=True)
        self._settle()

    def stops(self, name: str) -> None:
        """A handler that is not wanted any more has ended."""
        if self.ending:
            self.nodes[name].status = "ABORTED"
            del self.running[name]
            self._settle()

    def puts_off(self, name: str) -> None:
        """A handler was not entered, since the run had been paused before it had its place."""
        if self.ending:
            self.stops(name)
            return
        del self.running[name]
        self.nodes[name].status = "PENDING"
        self._settle()

    def rings(self, name: str) -> None:
        """A timer rang for whatever the node waits for."""
        wait = self.waiting.get(name)
        if wait is None or wait.due is None or wait.due > self.now or self.ending:
            return
        if wait.kind == "delay":
            self._end(name, DEFAULT)
        elif wait.kind == "retry":
            if self.is_paused or self.stepping not in (None, wait.visit):
                return
            if limit := self._limit():
                self._hold(limit)
            else:
                self._begin(name, wait.visit)
        else:
            self._decide(wait.visit, self.default.upper())
            self.barriers[wait.visit] = "TIMED_OUT"
        self._settle()

    def crash(self) -> None:
        """The process died, and another one takes over."""
        if self.running:
            self._interrupt()
            self._settle()

    def _interrupt(self) -> None:
        for name, visit in list(self.running.items()):
            if self.ending:
                self.nodes[name].status = "ABORTED"
                del self.running[name]
            elif name[0] == "x":
                self._wait(Wait(visit, "rerun"))
            elif name[0] == "k":
                self._fail(name)
            else:
                self.nodes[name].status = "PENDING"
                del self.running[name]
