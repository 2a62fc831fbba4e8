import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.general.config import MmluConfig
from hephaestus_dag.evaluation.general.mmlu import evaluate_mmlu
from hephaestus_dag.evaluation.general.mmlu_items import export_mmlu, mmlu_references, mmlu_texts, stratified_draw
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood
from hephaestus_dag.evaluation.prompts import prompt_sha

SIZES = {"anatomy": 6, "prehistory": 9, "sociology": 3}


def question(subject: str, number: int) -> dict[str, Any]:
    choices = [f"{subject} {number} {word}" for word in ("stone", "river", "cloud", "ember")]
    return {
        "subject": subject,
        "question": f"Which is {number} of {subject}? ",
        "choices": choices,
        "answer": "ABCD"[number % 4],
    }


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    folder = tmp_path / "exam"
    folder.mkdir()
    write(folder / "mmlu_test.jsonl", [question(subject, n) for subject, size in SIZES.items() for n in range(size)])
    write(folder / "mmlu_dev.jsonl", [question(subject, 100 + n) for subject in SIZES for n in range(5)])
    return folder


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def config(exam: Path, **values: Any) -> MmluConfig:
    return MmluConfig(location=str(exam), **values)


class Knowing:
    """A model that knows the right letters of some subjects, and elsewhere says A."""

    identity: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *subjects: str, room: int = 10_000) -> None:
        self.subjects, self.room, self.asked = subjects, room, []

    def generate(self, *_: Any, **__: Any) -> Any:
        raise AssertionError

    def loglikelihood(self, pairs: Sequence[tuple[Any, str]], *_: Any, **__: Any) -> list[Likelihood]:
        self.asked += pairs
        return [self.one(prompt, target) for prompt, target in pairs]

    def one(self, prompt: str, target: str) -> Likelihood:
        number, _, subject = prompt.rpartition("Which is ")[2].partition("?")[0].partition(" of ")
        best = "ABCD"[int(number) % 4] if subject in self.subjects else "A"
        return Likelihood(None if len(prompt) > self.room else -1.0 if target == f" {best}" else -2.0, 1)


class Silent(Knowing):
    """A server without log-likelihoods."""

    def loglikelihood(self, pairs: Sequence[tuple[Any, str]], *_: Any, **__: Any) -> list[Likelihood]:
        raise CannotScoreError("the server returns no log-likelihoods")


def rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "rows.parquet").to_pylist()


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 200),
    st.integers(0, 3),
)
def test_draws_are_proportional_and_nested(sizes: dict[str, int], num_items: int, seed: int):
    items = [(stratum, f"{stratum}_{n}") for stratum, size in sizes.items() for n in range(size)]
    drawn = stratified_draw(items, num_items, seed)
    assert len(drawn) == min(num_items, len(items))
    assert drawn <= stratified_draw(items[::-1], num_items + 1, seed)
    taken = Counter(name.rpartition("_")[0] for name in drawn)
    # No stratum took a place to which another had a better claim.
    last = max((taken[s] - 0.5) / size for s, size in sizes.items() if taken[s])
    first = min(((taken[s] + 0.5) / size for s, size in sizes.items() if taken[s] < size), default=2.0)
    assert last <= first


def test_questions_are_read_in_every_spelling(tmp_path: Path):
    spellings = [
        {"subject": "anatomy", "question": "One?", "choices": ["w", "x", "y", "z"], "answer": 2},
        {"subject": "anatomy", "question": "Two?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "C"},
        {"question": "question", "answer_a": "answer_a", "correct_answer": "answer", "topic": "anatomy"},
        {f"answer_{k}": v for k, v in zip("abcd", "wxyz", strict=True)}
        | {"question": "Three?", "correct_answer": "C", "topic": "world religions"},
    ]
    write(tmp_path / "test.jsonl", spellings)
    assert export_mmlu(config(tmp_path), tmp_path) == {"items": 3, "sampled": 3, "examples": 0}
    found = pq.read_table(tmp_path / "mmlu.parquet").to_pylist()
    assert [row["item_id"] for row in found] == ["anatomy_0", "anatomy_1", "world_religions_0"]
    assert all(row["choices"] == ["w", "x", "y", "z"] and row["answer"] == 2 for row in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "E"}, "test/0: answer is missing or wrong"),
        ({"choices": ["one"]}, "choices is missing or wrong"),
        ({"subject": None}, "subject is missing or wrong"),
    ],
)
def test_a_record_that_is_no_question_is_an_error(tmp_path: Path, change: dict[str, Any], message: str):
    write(tmp_path / "test.jsonl", [question("anatomy", 1) | change])
    with pytest.raises(ValueError, match=message):
        export_mmlu(config(tmp_path), tmp_path)


def test_the_hub_that_does_not_answer_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place: dict[str, Any] = {"location": f"hub:no-one/no-data@{'0' * 40}", "test_files": "all/test", "dev_files": "all/dev"}
    with pytest.raises(ConnectionError, match="download its files and name their folder"):
        export_mmlu(MmluConfig(**place), tmp_path)
    with pytest.raises(ValidationError, match="commit of 40 digits"):
        MmluConfig(**{**place, "location": "hub:no-one/no-data@main"})


def test_a_score_counts_each_subject_by_its_size(exam: Path, tmp_path: Path):
    export_mmlu(config(exam), tmp_path)
    summary = evaluate_mmlu(Knowing("anatomy"), tmp_path, config(exam), tmp_path / "scores")
    right = {"anatomy": 6, "prehistory": 3, "sociology": 1}  # elsewhere every fourth answer is A
    groups = summary["groups"]
    for shots in (0, 5):
        assert groups[f"MMLU {shots}-shot"]["score"] == pytest.approx(sum(right.values()) / sum(SIZES.values()), abs=1e-6)
        macro = sum(right[subject] / SIZES[subject] for subject in SIZES) / 3
        assert groups[f"MMLU {shots}-shot macro"]["score"] == pytest.approx(macro, abs=1e-6)
        assert groups[f"MMLU {shots}-shot STEM"]["score"] == 1
        assert groups[f"MMLU {shots}-shot humanities"]["n"] == SIZES["prehistory"]
    found = rows(tmp_path / "scores")
    assert len(found) == 2 * sum(SIZES.values())
    wrong = next(row for row in found if row["category"] == "0-shot/prehistory" and not row["verdict"])
    assert wrong["reply"] == "A"
    assert wrong["reason"].startswith("chose A, right is ")
    assert sorted(wrong["logprobs"]) == [-2, -2, -2, -1]
    assert not summary["not_run"]


def test_a_draw_is_asked_alone_and_weighs_as_the_whole(exam: Path, tmp_path: Path):
    small = config(exam, num_items=6, num_shots=(0,))
    assert export_mmlu(small, tmp_path)["sampled"] == 6
    summary = evaluate_mmlu(Knowing("prehistory"), tmp_path, small, tmp_path / "scores")
    assert Counter(row["category"] for row in rows(tmp_path / "scores")) == {
        "0-shot/anatomy": 2,
        "0-shot/prehistory": 3,
        "0-shot/sociology": 1,
    }
    weights = summary["groups"]["MMLU 0-shot"]["weights"]
    assert weights == pytest.approx({f"0-shot/{subject}": size / 18 for subject, size in SIZES.items()})


def test_what_cannot_run_says_why(exam: Path, tmp_path: Path):
    (exam / "mmlu_dev.jsonl").unlink()
    both = config(exam)
    nothing = evaluate_mmlu(Knowing(), tmp_path, MmluConfig(), tmp_path / "nothing")
    assert nothing["not_run"].keys() == {"MMLU 5-shot", "MMLU 0-shot"}
    assert "set evaluation.mmlu.location" in nothing["not_run"]["MMLU 0-shot"]
    export_mmlu(both, tmp_path)
    plain = evaluate_mmlu(Knowing(), tmp_path, both, tmp_path / "plain")
    assert "MMLU 0-shot" in plain["groups"]
    assert "needs 5 examples of each subject" in plain["not_run"]["MMLU 5-shot"]
    silent = evaluate_mmlu(Silent(), tmp_path, both, tmp_path / "silent")
    assert silent["not_run"]["MMLU 0-shot"] == "the server returns no log-likelihoods"
    assert silent["groups"] == {}


def test_a_prompt_that_does_not_fit_is_wrong_and_listed(exam: Path, tmp_path: Path):
    export_mmlu(config(exam), tmp_path)
    evaluate_mmlu(Knowing(*SIZES, room=600), tmp_path, config(exam), tmp_path / "scores")
    for row in rows(tmp_path / "scores"):
        long = row["category"].startswith("5-shot")
        assert row["verdict"] is not long
        assert ("does not fit" in row["reason"]) is long


def test_prompts_and_answers_are_those_of_lm_eval(exam: Path, tmp_path: Path, tiny_model: Path):
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hephaestus_dag.evaluation.general.lm_eval_model import packaged_task

    loaded: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    make: Any = HFLM
    lm = make(pretrained=loaded, tokenizer=AutoTokenizer.from_pretrained(tiny_model), batch_size=4, device="cpu")
    export_mmlu(config(exam), tmp_path)
    evaluate_mmlu(HuggingFaceModel(tiny_model), tmp_path, config(exam), tmp_path / "scores")
    ours = rows(tmp_path / "scores")
    for subject, size in SIZES.items():
        data = {
            split: Dataset.from_list([q | {"answer": "ABCD".index(q["answer"])} for q in map(json.loads, lines)])
            for split in ("test", "dev")
            if (lines := [line for line in (exam / f"mmlu_{split}.jsonl").read_text().splitlines() if subject in line])
        }
        header = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        for shots in (0, 5):
            own = packaged_task("mmlu/default/_default_template_yaml")
            own |= {"task": subject, "description": header, "num_fewshot": shots, "custom_dataset": lambda **_: data}  # noqa: B023
            task = ConfigurableTask(config=own)
            found: Any = evaluate(lm=lm, task_dict={subject: task}, bootstrap_iters=0, log_samples=True)
            mine = [row for row in ours if row["category"] == f"{shots}-shot/{subject}"]
            assert len(mine) == size
            for row, sample in zip(mine, found["samples"][subject], strict=True):
                assert row["prompt_sha"] == prompt_sha(sample["arguments"][0][0])
                assert row["logprobs"] == pytest.approx([r[0] for r in sample["filtered_resps"]], abs=1e-4)
                assert row["verdict"] == bool(sample["acc"])


def test_short_questions_are_kept_out_with_their_choices(exam: Path, tmp_path: Path):
    export_mmlu(config(exam), tmp_path)
    index = BenchmarkIndex.build(mmlu_texts(tmp_path))
    lettered = "Which is 3 of prehistory?\n" + "\n".join(
        f"({letter}) {choice}" for letter, choice in zip("ABCD", question("prehistory", 3)["choices"], strict=True)
    )
    (hit,) = index.hits([lettered])
    assert hit is not None
    assert hit.item_id == "mmlu/prehistory_3"


def test_references_are_the_right_choices_by_area(exam: Path, tmp_path: Path):
    export_mmlu(config(exam), tmp_path)
    found = list(mmlu_references(tmp_path, BenchmarkLossConfig(items_per_category=4)))
    assert Counter(each.category for each in found) == {"mmlu/stem": 4, "mmlu/humanities": 4, "mmlu/social_sciences": 3}
    one = next(each for each in found if each.item_id == "mmlu/sociology_2")
    assert (one.prompt, one.target) == ("Question: Which is 2 of sociology?\nAnswer:", " sociology 2 cloud")
