import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaestus_dag.evaluation.code_sandbox import run_programs
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import HumanEvalConfig
from hephaestus_dag.evaluation.general.human_eval import (
    evaluate_human_eval,
    export_human_eval,
    human_eval_references,
    human_eval_texts,
    program,
)
from hephaestus_dag.evaluation.model import Likelihood, Reply

HEAD = "from math import gcd\n\n\ndef common(a: int, b: int) -> int:\n    '''Return the greatest common divisor.'''\n"
PROBLEMS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": HEAD,
        "canonical_solution": "    return gcd(a, b)\n",
        "test": "def check(candidate):\n    assert candidate(12, 18) == 6\n    assert candidate(7, 5) == 1\n",
        "entry_point": "common",
    }
    for number in range(3)
]


class Writing:
    """A model that writes one program after the other."""

    identity: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *replies: str) -> None:
        self.replies, self.prompts = replies, list[Any]()

    def generate(self, prompts: Sequence[Any], *_: Any, **__: Any) -> list[Reply]:
        self.prompts = list(prompts)
        return [Reply(text=text, num_prompt_tokens=9, num_new_tokens=9, seconds=0.1) for text in self.replies]

    def loglikelihood(self, *_: Any, **__: Any) -> list[Likelihood]:
        raise AssertionError


@pytest.fixture
def config(tmp_path: Path) -> HumanEvalConfig:
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, PROBLEMS)))
    return HumanEvalConfig(location=str(tmp_path))


def test_programs_are_judged_by_their_tests(config: HumanEvalConfig, tmp_path: Path):
    assert export_human_eval(config, tmp_path) == {"items": 3, "sampled": 3}
    model = Writing("    return gcd(a, b)", "    return a", "    return gcd(a, b")
    summary = evaluate_human_eval(model, tmp_path, config, tmp_path / "scores")
    rows = pq.read_table(tmp_path / "scores" / "rows.parquet").to_pylist()
    assert [row["item_id"] for row in rows] == ["HumanEval_0", "HumanEval_1", "HumanEval_2"]
    assert rows[0]["verdict"]
    assert rows[1]["reason"] == "AssertionError"
    assert rows[2]["reason"] == "SyntaxError: it is not complete"
    assert summary["groups"]["HumanEval"]["score"] == pytest.approx(1 / 3, abs=1e-6)
    assert model.prompts == [HEAD] * 3


@pytest.mark.parametrize(
    "reply",
    [
        "Here it is:\n```python\ndef common(a, b):\n    return gcd(a, b)\n```\nIt works.",
        "```python\n    return gcd(a, b)\n```",
        "```\nfrom math import gcd\ndef common(a: int, b: int) -> int:\n    return gcd(a, b)",
        "    return gcd(a, b)\n",
    ],
)
def test_a_chats_program_is_its_code_block(config: HumanEvalConfig, tmp_path: Path, reply: str):
    text = program(PROBLEMS[0], reply, chat=True)
    assert run_programs([f"{text}\n{PROBLEMS[0]['test']}\ncheck(common)"]) == [""]


def test_a_chat_is_asked_in_a_message(config: HumanEvalConfig, tmp_path: Path):
    export_human_eval(config, tmp_path)
    model = Writing(*["```python\ndef common(a, b):\n    return gcd(a, b)\n```"] * 3)
    chat = config.model_copy(update={"prompt": "chat"})
    summary = evaluate_human_eval(model, tmp_path, chat, tmp_path / "scores")
    assert HEAD in model.prompts[0][0]["content"]
    assert summary["groups"]["HumanEval"]["score"] == 1


def test_without_problems_it_is_not_run(tmp_path: Path):
    assert export_human_eval(HumanEvalConfig(), tmp_path) == {}
    summary = evaluate_human_eval(Writing(), tmp_path, HumanEvalConfig(), tmp_path / "scores")
    assert "set evaluation.human_eval.location" in summary["not_run"]["HumanEval"]


def test_solutions_are_references_and_kept_out(config: HumanEvalConfig, tmp_path: Path):
    export_human_eval(config, tmp_path)
    (one,) = human_eval_references(tmp_path, BenchmarkLossConfig(items_per_category=1))
    assert (one.prompt, one.target) == (HEAD, "    return gcd(a, b)\n")
    assert dict(human_eval_texts(tmp_path))["humaneval/HumanEval_2"] == HEAD


def test_no_program_gets_out(open_folder: Path, monkeypatch: pytest.MonkeyPatch):
    secret = open_folder / "secret.txt"
    secret.write_text("the secret")
    secret.chmod(0o644)
    monkeypatch.setenv("A_SECRET_KEY", "the key")
    attacks = {
        "write outside": f"open({str(open_folder / 'new.txt')!r}, 'w').write('x')",
        "read a secret": f"print(open({str(secret)!r}).read()); raise SystemExit",
        "read past a refusal": f"try:\n    open({str(secret)!r})\nexcept OSError:\n    pass",
        "remove a file": f"import os\nos.remove({str(secret)!r})",
        "environment": "import os\nassert 'A_SECRET_KEY' in os.environ, 'clean'",
        "fork bomb": "import os\nwhile True:\n    os.fork()",
        "a shell": "import subprocess\nsubprocess.run('ls')",
        "a shell by os": "import os\nos.system('ls')",
        "kill the parent": "import os\nos.kill(os.getppid(), 9)",
        "10 GB": "x = bytearray(10 << 30)",
        "network": "import socket\nsocket.create_connection(('127.0.0.1', 22))",
        "ctypes": "import ctypes\nctypes.CDLL(None)",
        "leave before the tests": "raise SystemExit(0)",
        "leave at once": "import os\nos._exit(0)",
        "recursion": "def f():\n    return f() + 1\nf()",
        "a wall of text": "print('x' * (1 << 20))\nassert False",
        "no text at all": "\x00",
    }
    fine = "import math, re, collections, itertools, heapq\nassert math.comb(4, 2) == 6"
    reasons = run_programs([fine, *attacks.values(), fine])
    assert reasons[0] == reasons[-1] == ""
    found = dict(zip(attacks, reasons[1:-1], strict=True))
    assert all(found.values()), found
    assert found["environment"] == "AssertionError: clean"
    assert "SystemExit" in found["leave before the tests"]
    assert [path.name for path in open_folder.iterdir()] == ["secret.txt"]
    assert secret.read_text() == "the secret"


@pytest.mark.slow
def test_no_program_holds_up_the_run():
    waits = [
        "while True:\n    pass",
        "x = 9**9**9",
        "import threading\nthreading.Event().wait(100)",
        "import time\ntime.sleep(100)",
    ]
    reasons = run_programs([*waits, "x = 1"], cpu_seconds=1, wall_seconds=4)
    assert reasons[-1] == ""
    assert all(reason.startswith("stopped: ") for reason in reasons[:-1])


def test_a_program_of_unbounded_length_is_refused():
    assert "longer than" in run_programs(["x = 1\n" * 50_000])[0]
