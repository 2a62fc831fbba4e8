import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hephaestus_dag.evaluation.answers import RecordedModel
from hephaestus_dag.evaluation.model import Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.streaming import StreamingModel

IDENTITY = {"weights": "echo", "dtype": "float32"}


class Echo(StreamingModel):
    """Says a prompt backwards, fails for a while on some, and dies before its answer number ``dies_at``."""

    def __init__(self, log: Path, dies_at: int = 1 << 30) -> None:
        self.log, self.dies_at, self.failing = log, dies_at, {"down"}

    @property
    def identity(self):
        return IDENTITY

    def replies(self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens=None, stop=()):
        for number, prompt in sorted(enumerate(prompts), reverse=True):
            text = self.answer(prompt)
            failure = "HTTP 503" if str(prompt) in self.failing else ""
            values = {"num_prompt_tokens": 1, "num_new_tokens": 2, "seconds": 0.5, "failure": failure}
            yield number, Reply(text=text, **values, may_pass=bool(failure))

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]], max_tokens=None) -> Iterator[tuple[int, Likelihood]]:
        for number, (prompt, target) in enumerate(pairs):
            yield number, Likelihood(-float(len(self.answer(f"{prompt}|{target}"))), len(target))

    def answer(self, question: Prompt) -> str:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        if len(lines) == self.dies_at:
            signal.raise_signal(signal.SIGKILL)
        with self.log.open("a") as file:
            file.write(json.dumps(question) + "\n")
        return str(question)[::-1]


def generated(folder: Path) -> list[str]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def recorded(folder: Path, **options) -> RecordedModel:
    return RecordedModel(lambda: Echo(folder / "log"), IDENTITY, folder / "journal.jsonl", **options)


def unreachable() -> StreamingModel:
    raise AssertionError("the model is loaded although all is known")


def test_a_killed_run_goes_on_and_generates_nothing_twice(tmp_path: Path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from test_answers import *\n"
        "folder = Path(sys.argv[2]); echo = lambda: Echo(folder / 'log', dies_at=int(sys.argv[3]))\n"
        "with RecordedModel(echo, IDENTITY, folder / 'journal.jsonl') as model:\n"
        "    print([reply.text for reply in model.generate([f'item {n}' for n in range(10)], 5)])\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    killed = subprocess.run([*command, "5"], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(generated(tmp_path)) == 5
    again = subprocess.run([*command, "1000"], check=True, capture_output=True, text=True)
    assert again.stdout.strip() == str([f"item {n}"[::-1] for n in range(10)])
    assert sorted(generated(tmp_path)) == sorted(f"item {n}" for n in range(10))


def test_what_was_asked_before_needs_no_model(tmp_path: Path):
    messages = [{"role": "user", "content": "U"}]
    with recorded(tmp_path) as model:
        replies = model.generate(["a", messages], 5, stop=("x",))
        likelihoods = model.loglikelihood([("a", "b"), (messages, "c")])
        assert (model.asked, model.recorded) == (4, 0)
    later = RecordedModel(unreachable, IDENTITY, tmp_path / "later.jsonl", earlier=[tmp_path / "journal.jsonl"])
    with later as model:
        assert model.generate(["a", messages], 5, stop=("x",)) == replies
        assert model.loglikelihood([("a", "b"), (messages, "c")]) == likelihoods
        assert (model.asked, model.recorded) == (0, 4)
    with RecordedModel(unreachable, IDENTITY, tmp_path / "later.jsonl") as model:
        assert model.generate(["a"], 5, stop=("x",)) == replies[:1]


@pytest.mark.parametrize(
    ("identity", "arguments"),
    [
        ({**IDENTITY, "dtype": "bfloat16"}, {"max_new_tokens": 5}),
        (IDENTITY, {"max_new_tokens": 6}),
        (IDENTITY, {"max_new_tokens": 5, "stop": ("\n",)}),
        (IDENTITY, {"max_new_tokens": 5, "max_prompt_tokens": 9}),
    ],
)
def test_another_model_or_question_is_asked_anew(tmp_path: Path, identity, arguments):
    with recorded(tmp_path) as model:
        model.generate(["a"], 5)
    with (
        pytest.raises(AssertionError, match="although all is known"),
        RecordedModel(unreachable, identity, tmp_path / "journal.jsonl") as model,
    ):
        model.generate(["a"], **arguments)


def test_a_question_that_occurs_twice_is_answered_once(tmp_path: Path):
    seen: list[tuple[int, int]] = []
    with recorded(tmp_path) as model:
        replies = model.generate(["a", "b", "a"], 5, progress=lambda done, total: seen.append((done, total)))
        model.loglikelihood([("a", "t"), ("a", "t")])
    assert [reply.text for reply in replies] == ["a", "b", "a"]
    assert generated(tmp_path) == ["b", "a", "a|t"]
    assert seen[-1] == (3, 3)


def test_failures_that_may_pass_are_asked_again_and_are_no_result(tmp_path: Path):
    model = recorded(tmp_path).__enter__()
    down, up = model.generate(["down", "up"], 5)
    assert down.failure
    assert not up.failure
    model.generate(["down", "up"], 5)
    with pytest.raises(RuntimeError, match=r"1 of 4 questions got no answer, the last for: HTTP 503.*asks only these"):
        model.__exit__(None, None, None)
    assert generated(tmp_path) == ["up", "down", "down"]


def test_a_failure_that_passed_is_none(tmp_path: Path):
    echo = Echo(tmp_path / "log")
    with RecordedModel(lambda: echo, IDENTITY, tmp_path / "journal.jsonl") as model:
        model.generate(["down"], 5)
        assert model.failed == 1
        echo.failing.clear()
        model.generate(["down"], 5)
    assert model.failed == 0


def test_few_failures_are_told_and_count_as_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    echo = Echo(tmp_path / "log")
    with RecordedModel(lambda: echo, IDENTITY, tmp_path / "journal.jsonl") as model:
        model.generate(["down", *(f"item {n}" for n in range(99))], 5)
    assert model.failed == 1
    assert "1 of 100 questions got no answer" in caplog.text


def test_a_model_of_another_identity_is_refused(tmp_path: Path):
    other = RecordedModel(lambda: Echo(tmp_path / "log"), {"weights": "other"}, tmp_path / "journal.jsonl")
    with other as model, pytest.raises(ValueError, match="give RecordedModel the identity"):
        model.generate(["a"], 5)
