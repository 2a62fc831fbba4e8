"""Runs Python programs that a model wrote, each in a locked-down child (``sandbox``) of a fresh interpreter.

The interpreter is told nothing: no environment variables, no files of ours, no working folder of worth. It imports the
modules that programs use before it locks the children down, since those can open nothing, not even a module.

A program is right when it ends without an exception. It shares its process with its own tests, so it can cheat them (with
objects that are equal to everything, for example); what it cannot do is leave that process.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

MODULES = (
    "abc array base64 bisect calendar cmath collections.abc contextlib copy csv dataclasses datetime decimal difflib enum "
    "fractions functools hashlib heapq inspect io itertools json keyword math numbers operator pprint queue random re "
    "statistics string struct textwrap time timeit traceback types typing unicodedata"
)
"""What a program may import."""

MAX_CHARACTERS = 100_000


def run_programs(programs: Sequence[str], cpu_seconds: int = 5, wall_seconds: float = 30.0) -> list[str]:
    """Return why each program failed, in order; an empty text for one that ended well.

    Raises RuntimeError when the sandbox itself fails.
    """
    if not programs:
        return []
    request = {"programs": [text[: MAX_CHARACTERS + 1] for text in programs], "cpu": cpu_seconds, "wall": wall_seconds}
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            # -I leaves out our environment and folder, -S the installed packages, -B caches.
            [sys.executable, "-I", "-S", "-B", str(Path(__file__).resolve())],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            cwd=empty,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
    reasons = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(reasons) != len(programs):
        tail = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise RuntimeError(f"the sandbox for programs failed (status {done.returncode}):\n{tail}")
    return reasons


def check(text: str) -> str:
    """Return what is wrong with a program that cannot be run; an empty text where nothing is."""
    if len(text) > MAX_CHARACTERS:
        return f"the program is longer than {MAX_CHARACTERS:,} characters"
    try:
        compile(text, "program", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return ""


def run(text: str) -> str:
    """Run a program as the main module; return the exception that ended it, an empty text where none did."""
    try:
        exec(compile(text, "program", "exec"), {"__name__": "__main__"})
    except BaseException as error:  # also SystemExit, which would leave out the tests
        return f"{type(error).__name__}: {error}".removesuffix(": ")[:500]
    return ""


def main() -> None:
    """Read programs from standard input, write a JSON text for each: why it failed."""
    # The one module of ours that is needed; a package's import would bring in all of it.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sandbox = import_module("sandbox")
    sys.path.pop(0)
    request = json.load(sys.stdin)
    for name in MODULES.split():
        import_module(name)
    sandbox.leave_network()
    limits = sandbox.Limits(address_space=1 << 30, cpu_seconds=request["cpu"], wall_seconds=request["wall"])
    # After some errors of syntax, Python looks for the program's file to quote it, which is no attack.
    checked = sandbox.run_isolated(check, request["programs"], limits)
    problems = ["SyntaxError: it is not complete" if each.stopped else each.value for each in checked]
    sound = [text for text, problem in zip(request["programs"], problems, strict=True) if not problem]
    outcomes = sandbox.run_isolated(run, sound, limits, share=False)
    for problem in problems:
        if not problem:
            outcome = next(outcomes)
            problem = f"stopped: {outcome.stopped}" if outcome.stopped else str(outcome.value)
        print(json.dumps(problem), flush=True)


if __name__ == "__main__":
    main()
