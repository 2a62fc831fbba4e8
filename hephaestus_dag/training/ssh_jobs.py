"""Training jobs on machines reached by ssh: one torchrun on each, all seeing the same folders.

Each machine's share is held there by a process (`hosts`) that no connection ends; the connections are there to start these
processes and to notice within seconds when a machine is lost.
"""

import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hephaestus_dag.training.hosts import PROGRAM, STOPPED, Node, Task, address_towards, stop
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.processes import signal_name
from hephaestus_dag.training.scheduler import JobState, torchrun
from hephaestus_dag.training.sharing import look

REMOTE_SHELL = (
    "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=8", "-o", "ServerAliveInterval=4", "-o", "ServerAliveCountMax=2"
)  # fmt: skip
"""A broken connection is noticed after two unanswered questions, 8 to 12 seconds; trying it again takes 8 at most."""
UNREACHABLE = 255
"""The exit status of ssh when it cannot connect, or the connection breaks."""
AGAIN = 60.0
"""Seconds that a connection must last for its end to be met with another one, after the first such end."""


@dataclass
class _Connection:
    """What watches a node on its machine."""

    process: subprocess.Popen[bytes]
    said: Path
    again_at: float
    """Time of the monotonic clock after which its end is met with another connection."""

    def close(self) -> None:
        """Let it go; what it watched stays."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class SshHosts:
    """A `scheduler.Scheduler`; a job's id is its name."""

    hosts: tuple[str, ...]
    """As ssh knows them. The first is this machine when its name is localhost or this machine's."""
    plan: LaunchPlan = field(repr=False)
    remote_shell: Sequence[str] = field(default=REMOTE_SHELL, repr=False)
    """With a host and a command line behind it, it runs that line there; it ends with status 255 once the host is lost."""
    _connections: dict[Node, _Connection] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "the hosts"
    where = "execution.launcher.hosts"
    poll_seconds = 1.0

    @property
    def of_a_job(self) -> tuple[str, ...]:
        """See `scheduler.Scheduler`."""
        return self.hosts

    @classmethod
    def of(cls, plan: LaunchPlan, remote_shell: Sequence[str] = REMOTE_SHELL) -> Self:
        """Return the hosts that a plan names."""
        return cls(plan.hosts, plan, remote_shell)

    def submit(self, plan: LaunchPlan, name: str) -> str:
        """See `scheduler.Scheduler`."""
        shutil.rmtree(plan.work / "hosts", ignore_errors=True)  # What a lost host may still run of an earlier job ends by this.
        addresses = [host.rpartition("@")[2] for host in plan.hosts]
        if _is_here(plan.hosts[0]):  # The others may know it by no name, and its own name often means the loopback.
            addresses[0] = address_towards(addresses[-1]) or socket.gethostname()
        endpoint = f"{addresses[0]}:{plan.rendezvous_port}"
        task = Task(
            hosts=plan.hosts,
            addresses=addresses,
            python=plan.argv[0],
            torchrun=torchrun(plan, "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", name),
            env=dict(plan.env),
            work=str(plan.work.absolute()),
        )
        folder = self._folder(name)
        folder.mkdir(parents=True)
        task.write(folder)
        for node in _nodes(folder, task):
            self._connect(node, task)
        return name

    def find(self, name: str) -> str | None:
        """See `scheduler.Scheduler`."""
        return name if Task.read(self._folder(name)) else None

    def state(self, job: str) -> JobState:
        """See `scheduler.Scheduler`. Nodes that were never started, as the launcher was killed meanwhile, are started."""
        folder = self._folder(job)
        if not (task := Task.read(folder)):
            return JobState("gone", f"has left no trace in {folder}")
        nodes = _nodes(folder, task)
        for node in nodes:
            if not node.end:
                self._keep_watched(node, task)
            elif connection := self._connections.pop(node, None):
                connection.close()
        ends = [(_named(node, task), node.end) for node in nodes]
        if not all(end for _, end in ends):
            missing = ", ".join(_named(node, task) for node in nodes if not node.begun)
            return JobState("pending", f"not yet begun on {missing}") if missing else JobState("running")
        if lost := next((f"{name} {end['lost']}" for name, end in ends if end and "lost" in end), None):
            return JobState("failed", "failed", lost)
        codes = {name: end["code"] for name, end in ends if end}
        if not any(codes.values()):
            return JobState("succeeded")
        if failed := next(((name, code) for name, code in codes.items() if code not in (0, STOPPED)), None):
            name, code = failed
            died = f"died of {signal_name(-code)}" if code < 0 else f"ended with exit status {code}"
            return JobState("failed", f"failed: on {name} torchrun {died}")
        return JobState("cancelled", "was stopped")

    def cancel(self, job: str) -> None:
        """See `scheduler.Scheduler`."""
        with suppress(FileNotFoundError):
            stop(self._folder(job))

    def log(self, plan: LaunchPlan, job: str) -> str:
        """See `scheduler.Scheduler`."""
        folder = self._folder(job)
        nodes = _nodes(folder, task) if (task := Task.read(folder)) else []
        paths = [*(node.log for node in nodes), *(_said(node) for node in nodes)]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def _folder(self, job: str) -> Path:
        return self.plan.work.absolute() / "hosts" / job

    def _connect(self, node: Node, task: Task, again_at: float = 0.0) -> None:
        host = task.hosts[node.number]
        settings = [f"PYTHONPATH={path}" for name, path in task.env.items() if name == "PYTHONPATH"]
        program = shlex.join(["env", *settings, task.python, "-m", PROGRAM, "watch", str(node.folder), str(node.number)])
        line = f"{look(self.plan, node.folder.name)}; cd {shlex.quote(task.work)} && exec {program}"
        here = node.number == 0 and _is_here(host)
        with _said(node).open("wb") as said:
            process = subprocess.Popen(
                ("sh", "-c", line) if here else (*self.remote_shell, host, line),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,  # An interrupt at the terminal is this process's to answer.
            )
        self._connections[node] = _Connection(process, _said(node), again_at)

    def _keep_watched(self, node: Node, task: Task) -> None:
        """Connect to a node that is not watched; when its connection has ended and another one did no better, it is lost."""
        connection = self._connections.get(node)
        if not connection:
            self._connect(node, task)
        elif (code := connection.process.poll()) is not None and not node.end:
            assert connection.process.stdin
            connection.process.stdin.close()
            if node.begun and time.monotonic() > connection.again_at:
                self._connect(node, task, time.monotonic() + AGAIN)
                return
            how = "cannot be reached, or is lost" if code == UNREACHABLE else "cannot start its processes"
            lines = connection.said.read_text(errors="replace").split("\n")
            said = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
            node.ended(lost=f"{how} (exit status {code}{said})")


def _nodes(folder: Path, task: Task) -> list[Node]:
    return [Node(folder, number) for number in range(len(task.hosts))]


def _named(node: Node, task: Task) -> str:
    host = task.hosts[node.number]
    return f"host {host}" if task.hosts.count(host) == 1 else f"node {node.number} on {host}"


def _said(node: Node) -> Path:
    """What the connection to a node said."""
    return node.folder / f"connection-{node.number}.log"


def _is_here(host: str) -> bool:
    return host.rpartition("@")[2] in ("localhost", socket.gethostname())
