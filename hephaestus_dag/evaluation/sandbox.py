"""Runs a function over untrusted texts in locked-down child processes, so that the worst text only fails itself.

Uses the standard library alone, because it also runs under the Python of a benchmark's own environment. Linux.

A child can open no file (Landlock, where the kernel has it; an audit hook everywhere), has no network, no new processes
or threads, an unprivileged user where the parent is root, and bounds on memory, processor time and wall-clock time. One
child works through many tasks as long as none runs code from a string (``eval``): such a task gets a child of its own, whose
word counts for that task alone.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446
NOBODY = 65534
MAX_LINE = 4 << 20

HARMLESS_EVENTS = frozenset({"compile", "exec", "object.__getattr__", "builtins.id", "sys._getframe"})
"""What the interpreter may report while a task runs; any other audit event (open, socket, import, ...) is refused."""


@dataclass(frozen=True)
class Limits:
    """Bounds on one task."""

    address_space: int = 2 << 30
    """Bytes, of the whole child."""
    cpu_seconds: int = 3
    """Processor time; independent of how busy the machine is, so verdicts are too."""
    wall_seconds: float = 60.0
    """Wall-clock time; catches what sleeps."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task: a JSON value, or the reason why it was stopped."""

    value: Any = None
    stopped: str | None = None


NEEDS_CHILD = Outcome(stopped="runs code, and so needs a child of its own")


@dataclass
class Watch:
    """What the audit hook saw during the current task."""

    armed: bool = False
    alone: bool = False
    executions: int = 0
    refused: str | None = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook: refuses everything that is not known to be harmless while a task runs."""
        if not self.armed:
            return
        if event == "exec":
            self.executions += 1
        if event not in HARMLESS_EVENTS or (event == "exec" and not self.alone):
            self.refused = self.refused or event
            raise PermissionError(f"refused: {event}")


class LandlockRules(ctypes.Structure):
    """``struct landlock_ruleset_attr`` of ABI 6."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def restrict_files() -> int:
    """Deny this process every file for ever, with Landlock; return the kernel's Landlock ABI, 0 where there is none."""
    abi = LIBC.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        return 0
    num_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    rules = LandlockRules((1 << num_rights) - 1, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = LIBC.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0 or LIBC.syscall(LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)):
        return 0
    os.close(ruleset)
    return abi


def leave_network() -> bool:
    """Move this process and all its children to come into a network namespace with nothing in it; return whether it worked.

    A process that needs no network itself does this once, which spares every child the time.
    """
    if "network namespace" not in _applied and (
        LIBC.unshare(CLONE_NEWNET) == 0 or LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    ):
        _applied.append("network namespace")
    return "network namespace" in _applied


def lock_down(limits: Limits) -> None:
    """Give up, for good, what untrusted text could misuse, and note the names of the protections in force."""
    leave_network()
    protections = ["resource limits", "audit hook"]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        protections.append("unprivileged user")
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and (abi := restrict_files()):
        protections.append(f"Landlock ABI {abi}")
    for kind, bound in (
        (resource.RLIMIT_AS, limits.address_space),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
    ):
        resource.setrlimit(kind, (bound, bound))
    _applied.extend(protections)


def run_isolated(
    function: Callable[[Any], Any], tasks: Sequence[Any], limits: Limits | None = None, share: bool = True
) -> Iterator[Outcome]:
    """Yield one outcome per task, in order, of ``function(task)`` run in locked-down child processes.

    ``function`` returns a JSON value, and gets its data and modules from the moment of the call: a child can load nothing.
    Without ``share``, each task has a child of its own from the start: faster where most run code.
    """
    limits = limits or Limits()
    position = 0
    while position < len(tasks):
        for outcome in _run_child(function, tasks[position:], limits, alone=False) if share else (NEEDS_CHILD,):
            if outcome == NEEDS_CHILD:
                (outcome,) = _run_child(function, tasks[position : position + 1], limits, alone=True)
            position += 1
            yield outcome


def protections_in_force(limits: Limits | None = None) -> list[str]:
    """Return the names of the protections that children have on this machine."""
    return next(run_isolated(lambda _: _applied, [None], limits)).value


def num_executions() -> int:
    """Return how often the current task of this child has run code from a string (``eval``)."""
    return _watch.executions


_applied: list[str] = []
_watch = Watch()


def _run_child(function: Callable[[Any], Any], tasks: Sequence[Any], limits: Limits, alone: bool) -> Iterator[Outcome]:
    """Yield outcomes until the tasks end or the child has to be replaced: at least one."""
    sys.stdout.flush()
    word = os.urandom(16).hex().encode()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _work(function, tasks, limits, alone, writing, word)
        finally:
            os._exit(1)
    os.close(writing)
    num_outcomes = 0
    ended = False
    reason = ""
    try:
        for line in _lines(reading, limits.wall_seconds):
            if isinstance(line, str) or num_outcomes == len(tasks):
                reason = str(line)
                break
            num_outcomes += 1
            yield _outcome(line, word)
        else:
            ended = True
    finally:
        os.close(reading)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if num_outcomes == len(tasks):
        return
    if not ended:
        yield Outcome(stopped=reason)
    elif code == -signal.SIGXCPU:
        yield Outcome(stopped=f"used more than {limits.cpu_seconds} s of processor time")
    elif code or not num_outcomes:
        yield Outcome(stopped=f"its process ended with {signal.Signals(-code).name if code < 0 else f'status {code}'}")


def _outcome(line: bytes, word: bytes) -> Outcome:
    """Return what a line of a child says, if it is the child's own: code that ran in it may have written one too."""
    said, own, text = line.partition(word)
    return Outcome(**json.loads(text)) if own and not said else Outcome(stopped="wrote to its parent")


def _lines(descriptor: int, wall_seconds: float) -> Iterator[bytes | str]:
    """Yield the lines that arrive, and a reason to stop when the next one takes too long or grows too large."""
    pending = b""
    deadline = time.monotonic() + wall_seconds
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready or len(pending) > MAX_LINE:
            yield f"wrote more than {MAX_LINE:,} bytes" if ready else f"ran longer than {wall_seconds:g} s"
            return
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines
        if lines:
            deadline = time.monotonic() + wall_seconds


def _work(function: Callable[[Any], Any], tasks: Sequence[Any], limits: Limits, alone: bool, writing: int, word: bytes) -> None:
    """Be the child: lock down, then write one line per task. Never returns."""
    output = 3
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(writing, output)
    os.closerange(output + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    lock_down(limits)
    _watch.alone = alone
    sys.addaudithook(_watch)
    for task in tasks:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        _watch.executions, _watch.refused = 0, None
        try:
            _watch.armed = True
            text = json.dumps({"value": function(task)})
        except BaseException as error:  # also SystemExit: the text must not end the run
            text = json.dumps({"stopped": f"{type(error).__name__}: {error}"[:500]})
        finally:
            _watch.armed = False
        if _watch.refused == "exec":
            text = json.dumps({"stopped": NEEDS_CHILD.stopped})
        elif _watch.refused:
            text = json.dumps({"stopped": f"tried what is not allowed: {_watch.refused}"})
        line = word + text.encode() + b"\n"
        while line:
            line = line[os.write(output, line) :]
        if _watch.refused:
            break
    os._exit(0)
