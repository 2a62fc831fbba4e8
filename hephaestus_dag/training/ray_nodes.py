"""The program of a training job on Ray: ``python -m hephaestus_dag.training.ray_nodes TASK.json`` runs a torchrun on each node.

It reserves the nodes, all or none, and ends the processes on all of them when one fails or the job is stopped. What the
processes of a node print goes to ``node-N.log`` in the work folder.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hephaestus_dag.training import orphans
from hephaestus_dag.training.processes import end_group

WAIT = 60.0
"""Seconds between two words about nodes that are not free."""


def main(path: Path) -> int:
    """Run the task of a file; return 0, or 1 when it failed on a node."""
    import ray
    from ray.exceptions import RayError
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    task = json.loads(path.read_text())
    ray.init(logging_level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    group = placement_group([task["bundle"]] * task["nodes"], strategy="STRICT_SPREAD")
    running = []
    try:
        while not group.wait(WAIT):
            print(f"waiting for {task['nodes']} nodes with {task['bundle']} free each", flush=True)
        held = dict(task["bundle"])
        options = {"num_cpus": held.pop("CPU"), "num_gpus": held.pop("GPU", 0), "resources": held, "max_retries": 0}

        def on_node(function: Any, number: int) -> Any:
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            return ray.remote(function).options(**options, scheduling_strategy=strategy)

        ray.get([on_node(look, number).remote(task["look"]) for number in range(task["nodes"])])
        address, port = ray.get(on_node(meeting_point, 0).remote())
        running = [on_node(run_node, number).remote(task, number, address, port) for number in range(task["nodes"])]
        waiting = running
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
    except KeyboardInterrupt:
        print("error: stopped", flush=True)
        return 1
    except RayError as error:
        cause = getattr(error, "cause", None)
        print(f"error: {cause or str(error).strip().splitlines()[0]}", flush=True)
        return 1
    finally:
        for force in (False, True):  # Ray kills this process three seconds after a stop.
            for each in running:
                ray.cancel(each, force=force)
            if running:
                ray.wait(running, num_returns=len(running), timeout=2)
    return 0


def look(line: str) -> None:
    """Raise RuntimeError when a shell's line, `sharing.look`, says that this node does not see the work folder."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def meeting_point() -> tuple[str, int]:
    """Return this node's address, as the others know it, and a free port of it."""
    import ray

    with socket.socket() as probe:
        probe.bind(("", 0))
        return ray.util.get_node_ip_address(), probe.getsockname()[1]


def run_node(task: dict[str, Any], number: int, address: str, port: int) -> None:
    """Run torchrun on this node. Raises RuntimeError when it ends badly."""
    filled = {"NODE": str(number), "ADDRESS": address, "PORT": str(port)}
    given = task["command"].index("--no-python")
    command = [filled.get(word, word) for word in task["command"][:given]] + task["command"][given:]
    parent, work = os.getpid(), Path(task["work"])
    with (work / f"node-{number}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=work,
            env={**os.environ, **task["env"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: orphans.die_with_parent(parent),
        )
    try:
        while process.poll() is None:
            time.sleep(0.1)  # A cancelled task is interrupted between two instructions of Python, not in a system's call.
        if process.returncode:
            raise RuntimeError(f"node {number} ({socket.gethostname()}): torchrun ended with exit status {process.returncode}")
    finally:
        end_group(process)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
