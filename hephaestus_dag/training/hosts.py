"""A training job on several machines: one torchrun agent on each, reached by ssh, all seeing the same folders.

This module is also the program that holds an agent on its machine: ``python -m hephaestus_dag.training.hosts COMMAND ...``
runs a command until it ends, or until its own standard input closes, because the launcher or the connection is gone.
"""

import hashlib
import logging
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from hephaestus_dag.training import orphans
from hephaestus_dag.training.launch import LaunchPlan, Member, OnMetrics, Say, run_members
from hephaestus_dag.training.processes import end_group, signal_name

logger = logging.getLogger(__name__)

REMOTE_SHELL = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5")
"""A lost connection is noticed after three unanswered questions, 15 seconds."""


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
    run_members(plan, lambda attempt: _agents(plan, attempt, remote_shell), on_metrics, warn, stop, _death_in_log)


def _agents(plan: LaunchPlan, attempt: int, remote_shell: Sequence[str]) -> list[Member]:
    first = plan.hosts[0]
    first_is_here = first in ("localhost", socket.gethostname())
    meeting = socket.gethostname() if first_is_here else first.rpartition("@")[2]
    identity = hashlib.sha256(str(plan.work.absolute()).encode()).hexdigest()[:16]
    torchrun = (
        "-m", "torch.distributed.run",
        "--nnodes", str(plan.num_nodes), "--nproc-per-node", str(plan.num_processes // plan.num_nodes),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{meeting}:{plan.rendezvous_port}", "--rdzv-id", f"{identity}-{attempt}",
        "--max-restarts", "0", "--no-python", *plan.argv,
    )  # fmt: skip
    settings = [f"{name}={value}" for name, value in plan.env.items()]
    python = plan.argv[0]
    held = ["env", *settings, python, "-m", "hephaestus_dag.training.hosts", python, *torchrun]
    line = f"cd {shlex.quote(str(plan.work.absolute()))} && exec {shlex.join(held)}"
    return [
        Member(
            name=f"host {host}" if plan.hosts.count(host) == 1 else f"agent {number} on {host}",
            argv=("sh", "-c", line) if number == 0 and first_is_here else (*remote_shell, host, line),
            tethered=True,
        )
        for number, host in enumerate(plan.hosts)
    ]


def _death_in_log(log: str) -> str | None:
    """Return which rank died of which signal, as torchrun's report of a failure says."""
    found = re.search(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: -(\d+)", log)
    return f"rank {found[1]} died of {signal_name(int(found[2]))}" if found else None


def hold(command: Sequence[str]) -> int:
    """Run a command until it ends, and return its exit status; end it and its group when standard input closes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent = os.getpid()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=lambda: orphans.die_with_parent(parent)
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
    sys.exit(hold(sys.argv[1:]))
