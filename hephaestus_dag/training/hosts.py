"""A training job on several machines: one torchrun agent on each, reached by ssh, all seeing the same folders.

This module is also the program that holds an agent on its machine: ``python -m hephaestus_dag.training.hosts PEER ARGUMENTS``
runs torchrun until it ends, or until its own standard input closes, because the launcher or the connection is gone.
"""

import hashlib
import logging
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from hephaestus_dag.training import orphans
from hephaestus_dag.training.attempts import OnMetrics, Say
from hephaestus_dag.training.launch import Member, run_members
from hephaestus_dag.training.launch_plan import LaunchPlan
from hephaestus_dag.training.processes import end_group, rank_death

logger = logging.getLogger(__name__)

REMOTE_SHELL = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=4")
"""A lost connection is noticed after three unanswered questions, 12 to 16 seconds."""
LOST = 255
"""The exit status of ssh when it cannot connect, or the connection breaks."""


def run_on_hosts(
    plan: LaunchPlan,
    on_metrics: OnMetrics,
    warn: Say = logger.warning,
    stop: Callable[[], bool] = lambda: False,
    remote_shell: Sequence[str] = REMOTE_SHELL,
) -> None:
    """Run a plan on its hosts, as `launch.run_members` says. The end of one agent with an error ends all of them.

    The first host is this machine when its name is localhost or this machine's; ``remote_shell``, a host and a command line
    start a process on another one. The hosts see the same folders, this Python and this library under the same paths.
    """
    run_members(plan, lambda attempt: _agents(plan, attempt, remote_shell), on_metrics, warn, stop, _death)


def _agents(plan: LaunchPlan, attempt: int, remote_shell: Sequence[str]) -> list[Member]:
    names = [host.rpartition("@")[2] for host in plan.hosts]
    first_is_here = names[0] in ("localhost", socket.gethostname())
    if first_is_here:  # The others may know it by no name, and its own name often means the loopback.
        names[0] = address_towards(names[-1]) or socket.gethostname()
    identity = hashlib.sha256(str(plan.work.absolute()).encode()).hexdigest()[:16]
    torchrun = (
        "--nnodes", str(plan.num_nodes), "--nproc-per-node", str(plan.num_processes // plan.num_nodes),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{names[0]}:{plan.rendezvous_port}", "--rdzv-id", f"{identity}-{attempt}",
        "--max-restarts", "0", "--no-python", *plan.argv,
    )  # fmt: skip
    settings = [f"{name}={value}" for name, value in plan.env.items()]

    def line(number: int) -> str:
        peer = names[0] if number else names[-1]
        program = (plan.argv[0], "-m", "hephaestus_dag.training.hosts", peer, "--rdzv-conf", f"is_host={int(number == 0)}")
        return f"cd {shlex.quote(str(plan.work.absolute()))} && exec {shlex.join(['env', *settings, *program, *torchrun])}"

    return [
        Member(
            name=f"host {host}" if plan.hosts.count(host) == 1 else f"agent {number} on {host}",
            argv=("sh", "-c", line(0)) if number == 0 and first_is_here else (*remote_shell, host, line(number)),
            tethered=True,
        )
        for number, host in enumerate(plan.hosts)
    ]


def _death(codes: Mapping[str, int | None], log: str) -> str | None:
    """Return which host was lost or, as torchrun's report of a failure says, which rank died of which signal."""
    if lost := next((name for name, code in codes.items() if code == LOST), None):
        return f"{lost} cannot be reached, or is lost (exit status {LOST})"
    return rank_death(log)


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


def hold(peer: str, arguments: Sequence[str]) -> int:
    """Run torchrun until it ends, and return its exit status; end it and its group when standard input closes.

    Left alone, torchrun and gloo would use the address that this machine's own name stands for, often the loopback's; they
    and NCCL are told to use the network that leads to ``peer``, unless the variables below are set already.
    """
    command, env = [sys.executable, "-m", "torch.distributed.run"], dict(os.environ)
    if address := address_towards(peer):
        command += ["--local-addr", address]
        if interface := _interface_of(address):
            env = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface, **env}
    else:
        print(f"{socket.gethostname()} does not know the name {peer}: write the hosts' addresses", file=sys.stderr, flush=True)
    return _tethered([*command, *arguments], env)


def _tethered(command: Sequence[str], env: Mapping[str, str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent = os.getpid()
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=lambda: orphans.die_with_parent(parent)
    )
    try:
        while (code := process.poll()) is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.1)
            if readable and not os.read(sys.stdin.fileno(), 4096):
                return 130
        return code
    except KeyboardInterrupt:
        return 130
    finally:
        end_group(process)


if __name__ == "__main__":
    sys.exit(hold(sys.argv[1], sys.argv[2:]))
