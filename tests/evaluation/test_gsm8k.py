import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import Gsm8kConfig
from hephaestus_dag.evaluation.general.gsm8k import (
    evaluate_gsm8k,
    export_gsm8k,
    gsm8k_references,
    gsm8k_texts,
    worked_answer,
)
from hephaestus_dag.evaluation.model import Likelihood, Reply

ITEMS = {
    "A crate holds 12 jars. How many jars are in 4 crates?": (
        "4 crates hold 4*12=<<4*12=48>>48 jars.\n#### 48",
        "The answer is 48.",
    ),
    "Ann has 1,000 beads and buys 250. How many has she?": ("1000+250=<<1000+250=1250>>1250\n#### 1,250", "She has $1250"),
    "A hen lays 2 eggs a day. How many in a week?": ("2*7=<<2*7=14>>14\n#### 14", "2 eggs, 7 days: 9"),
    "How many legs have 5 cows?": ("5*4=<<5*4=20>>20\n#### 20", "Four for each of them."),
    "How many legs have 6 cows?": ("6*4=<<6*4=24>>24\n#### 24", ""),
}


class Answering:
    """A model that has a reply to each question."""

    identity: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        self.prompts: list[Any] = []
        self.stop: Sequence[str] = ()

    def generate(
        self, prompts: Sequence[Any], max_new_tokens: int, *_: Any, stop: Sequence[str] = (), **__: Any
    ) -> list[Reply]:
        self.prompts, self.stop = list(prompts), stop
        return [self.one(prompt if isinstance(prompt, str) else prompt[-1]["content"]) for prompt in prompts]

    def one(self, text: str) -> Reply:
        reply = next(reply for question, (_, reply) in ITEMS.items() if text.endswith(f"Q: {question}\nA:"))
        failure = "" if reply else "the server refused"
        return Reply(text=reply, num_prompt_tokens=len(text), num_new_tokens=3, seconds=0.5, failure=failure)

    def loglikelihood(self, *_: Any, **__: Any) -> list[Likelihood]:
        raise AssertionError


@pytest.fixture
def config(tmp_path: Path) -> Gsm8kConfig:
    lines = [json.dumps({"question": question, "answer": answer}) for question, (answer, _) in ITEMS.items()]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    return Gsm8kConfig(location=str(tmp_path))


def test_a_reply_is_right_when_its_last_number_is(config: Gsm8kConfig, tmp_path: Path):
    assert export_gsm8k(config, tmp_path) == {"items": 5, "sampled": 5}
    model = Answering()
    summary = evaluate_gsm8k(model, tmp_path, config, tmp_path / "scores")
    rows = pq.read_table(tmp_path / "scores" / "rows.parquet").to_pylist()
    assert [row["verdict"] for row in rows] == [True, True, False, False, False]
    assert [row["reason"] for row in rows[2:]] == [
        "its last number is 9, right is 14",
        "its last number is [invalid], right is 20",
        "the server refused",
    ]
    assert rows[0]["seconds"] == 0.5
    assert summary["groups"]["GSM8K 8-shot"]["score"] == 0.4
    assert summary["note"].startswith("1 of 5 replies are right in the examples' own words")
    assert all(isinstance(prompt, str) and prompt.count("\n\nQ: ") == 8 for prompt in model.prompts)
    assert "Q:" in model.stop


def test_a_chat_gets_its_examples_as_turns(config: Gsm8kConfig, tmp_path: Path):
    export_gsm8k(config, tmp_path)
    model = Answering()
    chat = config.model_copy(update={"prompt": "chat"})
    summary = evaluate_gsm8k(model, tmp_path, chat, tmp_path / "scores")
    assert [message["role"] for message in model.prompts[0]] == ["user", "assistant"] * 8 + ["user"]
    assert summary["groups"]["GSM8K 8-shot"]["score"] == 0.4


def test_without_questions_it_is_not_run(tmp_path: Path):
    assert export_gsm8k(Gsm8kConfig(), tmp_path) == {}
    summary = evaluate_gsm8k(Answering(), tmp_path, Gsm8kConfig(), tmp_path / "scores")
    assert "set evaluation.gsm8k.location" in summary["not_run"]["GSM8K 8-shot"]
    assert summary["groups"] == {}


def test_a_record_without_an_answer_is_an_error(tmp_path: Path):
    (tmp_path / "test.jsonl").write_text('{"question": "How many?"}')
    with pytest.raises(ValueError, match="test/0: answer is missing"):
        export_gsm8k(Gsm8kConfig(location=str(tmp_path)), tmp_path)


def test_answers_are_references_and_kept_out(config: Gsm8kConfig, tmp_path: Path):
    export_gsm8k(config, tmp_path)
    assert worked_answer("So 2+2=<<2+2=4>>4\n#### 4") == "So 2+2=4\nThe answer is 4."
    references = list(gsm8k_references(tmp_path, BenchmarkLossConfig(items_per_category=2)))
    assert [each.category for each in references] == ["gsm8k/answers"] * 2
    assert {str(each.prompt) for each in references} <= {f"Question: {question}\nAnswer:" for question in ITEMS}
    assert dict(gsm8k_texts(tmp_path))["gsm8k/3"] == "How many legs have 5 cows?"
    assert dict(gsm8k_texts(tmp_path))["gsm8k/3 (answer)"] == "5*4=20\nThe answer is 20."
