"""The first program of every child process; it outlives nothing, and nothing outlives it.

Called as `python -I -B child_keeper.py PARENT REQUEST ANSWER [tty]`, the latter two being
descriptors. It forks: the child does what the JSON request asks for, in a session of its own; this
process waits, and adopts whatever loses its parent, wherever it has gone. When the child has ended
or the server is gone, all that is left is killed before this process ends as the child did.

SIGTERM asks everything to end and kills it a moment later, SIGUSR1 kills it at once.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, Final

PARENT_DEATH: Final = 1  # PR_SET_PDEATHSIG
SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER
GRACE_SECONDS: Final = 0.5
KILL_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.02
AWAITED: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1})
FOREIGN: Final = frozenset({signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE})


def main() -> None:
    """Fork; the child comes back from here, its keeper does not."""
    parent, request, answer = map(int, sys.argv[1:4])
    control(SUBREAPER, 1)
    die_with(parent, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED | FOREIGN)
    keeper = os.getpid()
    child = os.fork()
    if child:
        for descriptor in (0, 1, 2, request, answer):
            os.close(descriptor)
        end_as(keep(child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED | FOREIGN)
    os.setsid()
    die_with(keeper, signal.SIGKILL)
    os.set_inheritable(answer, False)  # noqa: FBT003 - the signature is Python's own
    work(request, answer, is_on_terminal="tty" in sys.argv[4:])


# --- the keeper -----------------------------------------------------------------------------------


def control(option: int, value: int) -> None:
    """Call prctl, where there is one."""
    try:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (AttributeError, OSError):
        return


def die_with(parent: int, number: signal.Signals) -> None:
    """Get that signal when the parent dies, however it dies."""
    control(PARENT_DEATH, number)
    if os.getppid() != parent:
        os._exit(1)


def keep(child: int) -> int:
    """Wait for the child, stop it if asked to, leave nothing: how the child ended."""
    deadline: float | None = None
    ended: int | None = None
    while ended is None:
        seconds = KILL_SECONDS
        if deadline is not None:
            seconds = max(LOOK_SECONDS, deadline - time.monotonic())
        found = signal.sigtimedwait(AWAITED, seconds)
        number = None if found is None else found.si_signo
        if number == signal.SIGTERM and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
            send(signal.SIGTERM)
        elif number == signal.SIGUSR1 or (deadline is not None and time.monotonic() >= deadline):
            send(signal.SIGKILL)
        ended = reap().get(child)
    kill_all()
    return ended


def kill_all() -> None:
    """Kill whatever is left, and whatever that has started meanwhile, until there is nothing."""
    deadline = time.monotonic() + KILL_SECONDS
    while has_children() and time.monotonic() < deadline:
        send(signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, LOOK_SECONDS)
        reap()


def reap() -> dict[int, int]:
    """Collect who has ended: their wait statuses."""
    found: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found[pid] = status


def has_children() -> bool:
    """Is anything left? Orphans count, since they are this process's then."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def send(number: signal.Signals) -> None:
    """Send a signal to everything below this process."""
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def descendants(root: int) -> Iterator[int]:
    """Everything below a process, parents first."""
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                children.setdefault(parent_of(entry.name), []).append(int(entry.name))
    pending = children.get(root, [])
    while pending:
        pid = pending.pop()
        yield pid
        pending.extend(children.get(pid, ()))


def parent_of(pid: str) -> int:
    """The parent of a process, 0 if it has gone."""
    try:
        with os.fdopen(os.open(f"/proc/{pid}/stat", os.O_RDONLY), "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def end_as(status: int) -> None:
    """End this process in the way that the wait status tells of another."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.waitstatus_to_exitcode(status))


# --- the child ------------------------------------------------------------------------------------


def work(request: int, answer: int, *, is_on_terminal: bool) -> None:
    """Do what is asked for: run Python code, or become another program."""
    if is_on_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    with os.fdopen(request, "rb") as file:
        asked = json.load(file)
    for name, (soft, hard) in asked["limits"].items():
        set_limit(getattr(resource, name), soft, hard)
    os.environ.update(asked["environment"])
    if asked["program"]:
        frame = become(asked["program"], asked["script"])
    else:
        # Loading it takes longer than all else here, and the keeper does not need it.
        python = ModuleType("python_child")
        SourceFileLoader(python.__name__, asked["python_child"]).exec_module(python)
        frame = python.run_python(asked)
    with os.fdopen(answer, "wb") as file:
        file.write(json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def set_limit(kind: int, soft: int, hard: int) -> None:
    """Lower a limit of this process, for good; it passes on to every process started from here."""
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def become(program: list[str], script: str | None) -> Mapping[str, Any]:
    """Replace this program by another; comes back only if that fails, with the reason."""
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    arguments = list(program)
    if script is not None:
        # An argument holds 128 KiB at most, a file in memory any script.
        memory = os.memfd_create("script", 0)
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(script.encode())
        arguments.append(f"/dev/fd/{memory}")
    try:
        os.execvpe(program[0], arguments, os.environ)  # noqa: S606 - the program that was asked for
    except OSError as error:
        message = f"{program[0]} cannot be started: {error.strerror}."
        return {"error": {"message": message, "is_final": True}}


if __name__ == "__main__":
    main()
