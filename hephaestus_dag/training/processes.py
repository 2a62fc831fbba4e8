"""Child processes that lead groups of their own: waiting for them, ending them with all they started, naming their ends."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Collection


def end_group(*processes: subprocess.Popen[bytes], patience: float = 3.0) -> None:
    """End processes and their groups, asking ever less politely, and wait for them."""
    for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        running = [process for process in processes if process.poll() is None]
        for process in running:
            _signal_group(process, wish)
        wait(running, patience)
    for process in processes:
        process.wait()
        _signal_group(process, signal.SIGKILL)  # Members that outlived their leader.


def wait(processes: Collection[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait until all have ended, ``seconds`` at most."""
    limit = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < limit:
        time.sleep(0.02)


def signal_name(number: int) -> str:
    """Return a signal's name, with what SIGKILL usually means."""
    name = signal.Signals(number).name
    return f"{name} (killed from outside, or by the system when memory ran out)" if name == "SIGKILL" else name


def rank_death(log: str) -> str | None:
    """Return which rank died of which signal, as torchrun's reports in a log say, which sends SIGTERM to the others."""
    found = re.findall(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: -(\d+)", log)
    died = next((each for each in found if int(each[1]) != signal.SIGTERM), None)
    return f"rank {died[0]} died of {signal_name(int(died[1]))}" if died else None


def _signal_group(process: subprocess.Popen[bytes], wish: signal.Signals) -> None:
    try:
        os.killpg(process.pid, wish)
    except ProcessLookupError:
        return
