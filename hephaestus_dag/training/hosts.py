"""The program that runs one machine's share of a training job that machines reached by ssh have among them.

``python -m hephaestus_dag.training.hosts watch FOLDER NUMBER`` starts ``... hold FOLDER NUMBER``, unless that was started
before, and watches it. What holds the processes outlives what watches it, and so the connection and the launcher. They know
of each other through the job's folder, which all machines see:

``job.json``  what has to run, a `Task`; without this file, what still runs ends
``N.json``    what became of node N; only one process can create it, and so the node's share is started once
``N.log``     what the node's processes have printed
``stop``      as soon as this file is there, all nodes end what they run
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from hephaestus_dag.training import orphans
from hephaestus_dag.training.processes import end_group

PROGRAM = "hephaestus_dag.training.hosts"
STOPPED = 130
"""The exit status of a node that ended because it was told to."""
PATIENCE = 600.0
"""Seconds that a node waits for the others to begin."""
EVERY = 0.2
"""Seconds between two looks at the job's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the machines run together."""

    hosts: Sequence[str]
    """The machines as the recipe names them, in the order of their nodes."""
    addresses: Sequence[str]
    """The machines as they know each other."""
    python: str
    torchrun: Sequence[str]
    """What Python runs on each machine."""
    env: Mapping[str, str]
    """Variables on top of the machine's own."""
    work: str
    """The folder that the processes start in."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the task of a job's folder; None where there is none (any more)."""
        try:
            return cls(**json.loads((folder / "job.json").read_text()))
        except FileNotFoundError:
            return None

    def write(self, folder: Path) -> None:
        """Put it into a job's folder, whole."""
        _write(folder / "job.json", asdict(self))


@dataclass(frozen=True)
class Node:
    """One machine's share of a job."""

    folder: Path
    number: int

    @property
    def log(self) -> Path:
        """What its processes have printed."""
        return self.folder / f"{self.number}.log"

    @property
    def begun(self) -> bool:
        """Whether it was started, or given up."""
        return self._record is not None

    @property
    def end(self) -> dict[str, Any] | None:
        """How it ended: torchrun's exit status as ``code``, or what is to say of its loss as ``lost``; None when it has not."""
        return self._record or None

    def claim(self) -> bool:
        """Begin it; return whether nobody else had."""
        try:
            with (self.folder / f"{self.number}.json").open("x"):
                return True
        except OSError:  # Someone has, or the folder is gone.
            return False

    def ended(self, **how: Any) -> None:
        """Write down how it ended, unless that is known, and unless that was well, have the others end too."""
        if self.end:  # It was given up as lost, and came back.
            return
        with suppress(FileNotFoundError):  # Where another job has taken the folder's place.
            if how.get("code") != 0:
                stop(self.folder)
            _write(self.folder / f"{self.number}.json", how)

    @property
    def _record(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / f"{self.number}.json").read_text() or "{}")
        except FileNotFoundError:
            return None


def stop(folder: Path) -> None:
    """Have all nodes of a job end what they run. Raises FileNotFoundError when its folder is gone."""
    (folder / "stop").touch()


def _stopped(folder: Path) -> bool:
    try:
        return (folder / "stop").exists() or not (folder / "job.json").exists()
    except OSError:  # The network's file system is away, which says nothing about the job.
        return False


def _write(path: Path, value: dict[str, Any]) -> None:
    staged = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    with staged.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def watch(node: Node) -> int:
    """Start what holds a node, unless that was done before, and return 0 once it has ended, or standard input closes.

    Returns 1 when it could not be started. When what holds the node is no longer there, the node is lost, and so it is
    written down.
    """
    holder = [PROGRAM, "hold", str(node.folder), str(node.number)]
    child = None
    if not node.begun and Task.read(node.folder):
        with node.log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *holder], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while not node.begun and child.poll() is None:
            time.sleep(0.02)
        if not node.begun:
            print(f"see the end of {node.log}", file=sys.stderr)
            return 1
    found = None
    while not node.end and (node.folder / "job.json").exists():
        if child:
            child.poll()
        if not (found and _runs(found, holder)) and not (found := _running(holder)) and not node.end:
            node.ended(lost="is lost: what held its processes was killed, or the machine was restarted")
        readable, _, _ = select.select([sys.stdin], [], [], EVERY)
        if readable and not os.read(sys.stdin.fileno(), 4096):
            break
    return 0


def _running(holder: list[str]) -> int | None:
    """Return a process of this machine that holds the node."""
    import psutil

    return next((pid for pid in psutil.pids() if _runs(pid, holder)), None)


def _runs(pid: int, holder: list[str]) -> bool:
    import psutil

    try:
        return psutil.Process(pid).cmdline()[-len(holder) :] == holder
    except psutil.Error:  # It has ended, or is somebody else's.
        return False


def hold(node: Node) -> None:
    """Run a node's torchrun until it ends or is told to, and write down how it ended, unless another process holds the node."""
    task = Task.read(node.folder)
    if not task or not node.claim():
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 1
    try:
        code = _run(node, task)
    except KeyboardInterrupt:
        code = STOPPED
    finally:
        node.ended(code=code)


def _run(node: Node, task: Task) -> int:
    """Run torchrun once all nodes have begun; return its exit status.

    Left alone, torchrun and gloo would use the address that this machine's own name stands for, often the loopback's; they
    and NCCL are told to use the network that leads to another machine, unless the variables below are set already.
    """
    limit = time.monotonic() + PATIENCE
    while not all(Node(node.folder, number).begun for number in range(len(task.hosts))):
        if _stopped(node.folder) or time.monotonic() > limit:
            return STOPPED
        time.sleep(EVERY)
    peer = task.addresses[0 if node.number else -1]
    module, rest = task.torchrun[:2], task.torchrun[2:]
    command, env = [task.python, *module, "--rdzv-conf", f"is_host={int(node.number == 0)}"], {**os.environ, **task.env}
    if address := address_towards(peer):
        command += ["--local-addr", address]
        if interface := _interface_of(address):
            env = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface, **env}
    else:
        print(f"{socket.gethostname()} does not know the name {peer}: write the hosts' addresses", file=sys.stderr, flush=True)
    parent = os.getpid()
    process = subprocess.Popen(
        [*command, *rest],
        cwd=task.work,
        env=env,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: orphans.die_with_parent(parent),
    )
    try:
        while (code := process.poll()) is None:
            if _stopped(node.folder):
                return STOPPED
            time.sleep(EVERY)
        return code
    finally:
        end_group(process)


def address_towards(host: str) -> str | None:
    """Return the address of this machine that packets to another one leave from; None when its name is unknown here."""
    try:
        family, kind, _, _, there = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)  # This sends nothing.
            return probe.getsockname()[0]
    except OSError:
        return None


def _interface_of(address: str) -> str | None:
    import psutil

    found = psutil.net_if_addrs().items()
    return next((name for name, addresses in found if address in (each.address for each in addresses)), None)


def main(do: str, folder: str, number: str) -> int:
    """Watch a node of a job, or hold it."""
    node = Node(Path(folder), int(number))
    if do == "watch":
        return watch(node)
    hold(node)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
