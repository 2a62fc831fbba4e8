import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hephaestus_dag.evaluation import sandbox
from hephaestus_dag.evaluation.sandbox import Limits, run_isolated

QUICK = Limits(cpu_seconds=1, wall_seconds=30.0, address_space=4 << 30)


def evaluate(text: str):
    return eval(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("open({path!r}, 'w').write('x')", "open"),
        ("__import__('os').system('touch {path}')", "os.system"),
        ("__import__('os').mkdir({path!r})", "os.mkdir"),
        ("__import__('os').kill({pid}, 9)", "os.kill"),
        ("__import__('os').fork()", "os.fork"),
        ("__import__('socket').socket()", "socket"),
        ("__import__('this')", "import"),
        ("9**9**9", "processor time"),
        ("sum(1 for _ in iter(int, 1))", "processor time"),
        ("__import__('time').sleep(60)", "longer than"),
        ("[0] * 10**10", "MemoryError"),
        ("print", "TypeError"),
        ("exit(0)", "SystemExit"),
        ("__import__('os')._exit(0)", "ended"),
        ("__import__('os').abort()", "SIGABRT"),
        ("open('/etc/shadow').read()", "open"),
        ("[__import__('os').fork() for _ in iter(int, 1)]", "os.fork"),
        ("'x' * 10**7", "wrote more than"),
        ("__import__('os').write(3, b'{{\"value\": 9}}\\n' * 3)", "wrote to its parent"),
    ],
)
def test_an_attack_fails_alone_and_leaves_no_trace(text: str, reason: str, open_folder: Path):
    import socket  # noqa: F401  what is loaded already needs no import

    target = open_folder / "created"
    limits = replace(QUICK, wall_seconds=1.0) if "sleep" in text else QUICK
    attack = text.format(path=str(target), pid=os.getpid())
    before, stopped, after = run_isolated(evaluate, ["1 + 1", attack, "2 + 2"], limits)
    assert (before.value, after.value) == (2, 4)
    assert reason in (stopped.stopped or "")
    assert not target.exists()


def test_a_task_that_ran_code_does_not_reach_the_next():
    poison = "__import__('builtins').__dict__.update(len=lambda _: 7)"
    outcomes = list(run_isolated(evaluate, [poison, "len('ab')"], QUICK))
    assert outcomes[1].value == 2


def test_without_the_audit_hook_the_kernel_still_refuses_files_and_new_processes(open_folder: Path):
    (open_folder / "secret").write_text("x")
    (open_folder / "secret").chmod(0o644)

    def attempt(number: int):
        sandbox._watch.armed = False
        try:
            if number == 0:
                (open_folder / "secret").read_text()
            elif number == 1:
                (open_folder / "new").write_text("x")
            else:
                os.fork()
        except OSError as error:
            return type(error).__name__
        return "done"

    if not any(name.startswith("Landlock") for name in sandbox.protections_in_force()):
        pytest.skip("this kernel has no Landlock")
    outcomes = [outcome.value for outcome in run_isolated(attempt, [0, 1, 2], QUICK)]
    assert outcomes == ["PermissionError", "PermissionError", "BlockingIOError"]
    assert not (open_folder / "new").exists()


def test_many_tasks_share_children():
    began = time.monotonic()
    outcomes = list(run_isolated(lambda n: n * 2, list(range(2_000)), QUICK))
    assert [outcome.value for outcome in outcomes] == [n * 2 for n in range(2_000)]
    assert time.monotonic() - began < 4
