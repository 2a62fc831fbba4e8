"""AgentBench's OS sandboxes: do the data's own solutions pass, and what do attacks achieve?

python benchmarks/agentbench_os.py --root ROOT gold --data AgentBench/data
python benchmarks/agentbench_os.py --root ROOT attacks
"""

import argparse
import time
from pathlib import Path

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_interaction import OsTask, parse_action, run_script
from hephaestus_dag.evaluation.agentbench.os_sandbox import Sandbox
from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem

ATTACKS = {
    "write to the root folder": "echo x > /usr/bin/env-of-attack; ls /usr/bin/env-of-attack",
    "write to devices": "head -c 1000 /dev/zero > /dev/vda; ls /dev/vda /dev/sda /dev/mem",
    "read the host's accounts": "cat /proc/1/root/etc/shadow | head -1; ls /proc/1/root/home",
    "read host processes": "ls -d /proc/[0-9]* | wc -l",
    "kernel settings": "echo '|/tmp/x' > /proc/sys/kernel/core_pattern; cat /proc/sys/kernel/core_pattern",
    "mount": "mount -t tmpfs none /mnt; unshare --user --map-root-user --mount true",
    "device file": "mknod /tmp/disk b 254 0",
    "set-user-id": "cp /bin/bash /tmp/s; chmod 4755 /tmp/s; su nobody -s /bin/sh -c '/tmp/s -p -c id'",
    "network": "timeout 3 bash -c 'echo > /dev/tcp/1.1.1.1/53' || curl -m 3 -s http://deb.debian.org | head -c 100",
    "kill everything": "kill -9 -1; kill -9 1; kill -9 $PPID; echo alive",
    "end the shell": "exit 0",
    "1 MB of output": "head -c 1000000 /dev/zero | tr '\\0' x",
    "endless output": "yes",
    "fill the disk": "head -c 2000000000 /dev/zero > /root/big; head -c 2000000000 /dev/zero > /dev/shm/big; df -h / | tail -1",
    "10 GB of memory": "python3 -c 'x = bytearray(10 << 30)'",
    "10 GB in pieces": "for i in $(seq 20); do python3 -c 'import time; x = b\"x\" * (500 << 20); time.sleep(60)' & done; wait",
    "fork bomb": ":(){ :|:& };:; sleep 30",
    "endless loop": "while true; do :; done",
    "background processes": "for i in $(seq 50); do sleep 1000 & done; setsid nohup sleep 1000 & echo started",
}


def play_gold(task: OsTask, item: TaskItem) -> Outcome:
    """Play an item's own solution and judge it."""
    conversation = task.start(item)
    try:
        example = item.content["example"]
        if not example:
            conversation.observe(f"Act: answer({item.reference})")
        elif None in item.content["check"]:
            # Not by a reply: an answer of several lines does not fit into one.
            conversation.committed = True
            conversation.answer = run_script(conversation.sandbox, example).output.decode()
        else:
            assert parse_action(item.target)[0] == "bash"
            conversation.answer = (conversation.sandbox.shell(example[1])).decode().strip()
            conversation.committed = True
        return conversation.outcome()
    finally:
        conversation.close()


def gold(config: OsConfig, data: Path) -> None:
    """Print how many of the data's own solutions pass, and why the others do not."""
    task = OsTask(config)
    print(f"{task.title}; {task.unavailable() or 'sandboxes run'}")
    for split in ("test", "dev"):
        items, passed, began = task.read_items(data, split), 0, time.perf_counter()
        by_itself = 0
        for item in items:
            try:
                outcome = play_gold(task, item)
            except Exception as error:  # as in a run: whatever an environment raises fails the item
                outcome = Outcome(0.0, f"{type(error).__name__}: {error}")
            passed += outcome.score == 1
            by_itself += outcome.score == 1 and None in item.content["check"]
            if outcome.score < 1:
                print(f"  {item.item_id}: {' '.join(outcome.reason.split())[:150]}")
        seconds = (time.perf_counter() - began) / len(items)
        print(
            f"{split}: {passed} of {len(items)} pass, {by_itself} of them by comparing the solution with itself; "
            f"{seconds:.2f} s an item"
        )


def attacks(config: OsConfig) -> None:
    """Print what each attack achieves."""
    config = config.model_copy(update={"command_seconds": 10.0})
    assert config.root
    print("| attack | what came of it | s |\n|---|---|---|")
    for name, command in ATTACKS.items():
        began = time.perf_counter()
        with Sandbox(config.root / "root", config) as sandbox:
            try:
                output = sandbox.shell(command).decode(errors="replace")
                result = f"{len(output)} characters: {' / '.join(output.split(chr(10)))[:150]}"
            except Exception as error:  # as in a run: whatever an environment raises fails the item
                result = f"item fails: {error}"
        print(f"| {name} | {result} | {time.perf_counter() - began:.1f} |", flush=True)


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that os_root made")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("gold").add_argument("--data", type=Path, required=True, help="folder `data` of AgentBench v0.2")
    commands.add_parser("attacks")
    chosen = parser.parse_args()
    config = OsConfig(root=chosen.root)
    gold(config, chosen.data) if chosen.command == "gold" else attacks(config)


if __name__ == "__main__":
    main()
